"""LexicalChannel: exact words as further dimensions beside the latents, weighted by BM25.

One vector, one index and one explanation then serve concepts and words. The vocabulary belongs to the index: it grows
with the documents, append-only, so that a word's dimension never changes. A document's weights know of the other
documents their mean length alone; how many documents have a word is the query's business.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saelex.encoder.words.analyser import WordAnalyser
from saelex.encoder.words.bm25 import Bm25Statistics, check_bm25, idf, term_frequency
from saelex.encoder.words.languages import AUTO, DEFAULT_LANGUAGE, LISTED_LANGUAGES, check_language
from saelex.errors import InputError
from saelex.reading.json_object import JsonObject, settings_from
from saelex.vectors import SparseRows

FORMAT = "saelex-words/5"  # of what is kept of words; another number where texts are cut or weighted in another way
_CHUNK = 1024
_FOREIGN = 0.25
"""What a word of a query counts in a language that next to no document is in. What such words match are names, and
chance: at full weight they make search across languages worse than without them (docs/languages.md)."""


@dataclass(frozen=True)
class LexicalSettings:
    """How words are cut and weighted. Raises InputError for values without meaning."""

    language: str = DEFAULT_LANGUAGE
    """ISO 639-1 code for stemmer and stop words, "none" for plain words, "auto" to go by what each text
    tells: see `saelex.encoder.words.languages`."""
    k1: float = 0.9
    """BM25's saturation of a word's count in a document."""
    b: float = 0.4
    """BM25's length normalisation: 0 not at all, 1 wholly."""
    scale: float = 1.0
    """What a word's BM25 score counts beside the latents'. It multiplies the query's side alone: the documents' weights
    keep their range when they are made integers, and another scale needs no new index."""

    def __post_init__(self) -> None:
        check_language(self.language)
        check_bm25(self.k1, self.b)
        if not 0 < self.scale < np.inf:
            raise InputError(f"words: the scale must be a positive number, not {self.scale}")


class _Vocabulary(dict[str, int]):
    """Term -> dimension; looking up a new term with [] appends it."""

    def __missing__(self, term: str) -> int:
        dimension = self[term] = len(self)
        return dimension


class LexicalChannel:
    """BM25 over words as sparse vectors: of a fixed set of texts `fit` once, then `document` and `query`.

    Where documents come and go, as in an index, whoever keeps them has the statistics: `count` the words of the texts,
    then `weigh_documents` and `weigh_queries`.

    Dimensions count from 0; whoever stores the rows puts them after the latents with `SparseRows.beside`.

    stop_words: language -> in place of its own; None takes those. A channel's state keeps them, so that another version
        of the list cannot change what was indexed.
    shares: language -> how many of the documents are in it, which decides how a query is cut (see `WordAnalyser`);
        counted by `fit`, and otherwise set by whoever keeps the documents.
    """

    def __init__(
        self, settings: LexicalSettings | None = None, stop_words: Mapping[str, Iterable[str]] | None = None
    ) -> None:
        self.settings = settings or LexicalSettings()
        self.analyser = WordAnalyser(self.settings.language, stop_words)
        self.statistics: Bm25Statistics | None = None
        self.shares: Mapping[str, int] = {}
        self._vocabulary = _Vocabulary()
        self._terms: list[str] = []

    def __len__(self) -> int:
        """Number of words known so far."""
        return len(self._vocabulary)

    # ---- vectors ----------------------------------------------------------------------------------------------------

    def fit(self, texts: Iterable[str]) -> LexicalChannel:
        """Count document frequencies, mean length and languages over the texts, and freeze them. Returns itself.

        Words of later documents join the vocabulary with a document frequency of 0. Raises InputError when there is no
        text, or when the statistics are frozen already.
        """
        if self.statistics is not None:
            raise InputError("words: the statistics are frozen; make a new channel to count them again")
        stream, shares = iter(texts), Counter[str]()

        def counted(chunk: list[str]) -> SparseRows:
            shares.update(self.languages(chunk))
            return self.count(chunk, grow=True)

        self.statistics = Bm25Statistics.count(map(counted, iter(lambda: list(islice(stream, _CHUNK)), [])))
        self.shares = shares
        return self

    def document(self, texts: str | Sequence[str]) -> SparseRows:
        """Document vectors [texts, words]; new words join the vocabulary."""
        statistics = self._frozen()
        rows = self.count([texts] if isinstance(texts, str) else texts, grow=True)
        return self.weigh_documents(rows, statistics.mean_length)

    def query(self, texts: str | Sequence[str]) -> SparseRows:
        """Query vectors [texts, words]. Words that no document has are left out."""
        statistics = self._frozen()
        rows = self.count([texts] if isinstance(texts, str) else texts, grow=False)
        return self.weigh_queries(rows, statistics.frequency(rows.latents), statistics.n_documents)

    def weigh_documents(self, counts: SparseRows, mean_length: float) -> SparseRows:
        """Document vectors of counted words: BM25's share of the count and of the text's length, below 1."""
        return counts.with_weights(term_frequency(counts, mean_length, self.settings.k1, self.settings.b))

    def weigh_queries(self, counts: SparseRows, frequencies: NDArray[np.int64], n_documents: int) -> SparseRows:
        """Query vectors of counted words: count times idf times the scale.

        frequencies: [non-zeros], how many of the n_documents have the word.
        """
        return counts.with_weights(counts.weights * idf(frequencies, n_documents) * self.settings.scale)

    def _frozen(self) -> Bm25Statistics:
        if self.statistics is None:
            raise InputError("words: no statistics yet; call fit() with the first documents")
        return self.statistics

    def languages(self, texts: Iterable[str]) -> Counter[str]:
        """How many of these documents are cut by the rules of each language."""
        return Counter(map(self.analyser.tell, texts))

    def count(self, texts: Sequence[str], *, grow: bool) -> SparseRows:
        """How often each text has each word, -1 as every position.

        grow: the texts are documents, whose unknown words are appended; else they are queries, which leave them out,
        and whose words count less where they are in a language that the documents are not in.
        """
        dimensions: list[int] = []
        ends = np.zeros(len(texts) + 1, np.int64)
        worth = np.ones(len(texts), np.float32)
        for i, text in enumerate(texts):
            if not grow and self.analyser.is_foreign(text, self.shares):
                worth[i] = _FOREIGN
            terms = self.analyser.terms(text, None if grow else self.shares)
            if grow:
                dimensions.extend(map(self._vocabulary.__getitem__, terms))
            else:
                dimensions.extend(self._vocabulary[term] for term in terms if term in self._vocabulary)
            ends[i + 1] = len(dimensions)
        n_words = max(1, len(self._vocabulary))
        row = np.repeat(np.arange(len(texts)), np.diff(ends))
        keys, counts = np.unique(row * n_words + np.asarray(dimensions, np.int64), return_counts=True)
        indptr = np.searchsorted(keys, np.arange(len(texts) + 1) * n_words)
        positions = np.full(len(keys), -1, np.int32)
        latents = (keys % n_words).astype(np.int32)
        weights = counts * worth[keys // n_words]
        return SparseRows(indptr, latents, weights.astype(np.float32), len(self._vocabulary), positions)

    # ---- words ------------------------------------------------------------------------------------------------------

    def word(self, dimension: int) -> str:
        """The (stemmed) word of a dimension."""
        return self._known()[dimension]

    def find(self, text: str) -> list[int]:
        """Dimensions of the text's words that the vocabulary has, in whatever language of the documents."""
        terms = self.analyser.terms_of(text, self.shares)
        return sorted(self._vocabulary[term] for term in terms if term in self._vocabulary)

    def spans(self, text: str, *, query: bool = False) -> list[tuple[int, int, int]]:
        """Where the vocabulary's words stand in a text: (dimension, start, end) in characters, in order."""
        found = self.analyser.spans(text, self.shares if query else None)
        return [(self._vocabulary[term], start, end) for term, start, end in found if term in self._vocabulary]

    def _known(self) -> list[str]:
        if len(self._terms) < len(self._vocabulary):
            self._terms.extend(islice(self._vocabulary, len(self._terms), None))
        return self._terms

    # ---- keeping it -------------------------------------------------------------------------------------------------

    def new_words_since(self, n: int) -> list[str]:
        """Words from dimension n on, to be stored in the transaction that stores the documents they came with."""
        return self._known()[n:]

    def extend(self, words: Iterable[str]) -> None:
        """Take over words that another process appended, in order. Raises InputError for a word already there."""
        for word in words:
            if self._vocabulary.setdefault(word, len(self)) != len(self) - 1:
                raise InputError(f"words: the word {word!r} is there twice")

    def forget_words_since(self, n: int) -> None:
        """Take back the words from dimension n on: the documents they came with were not stored."""
        for term in self.new_words_since(n):
            del self._vocabulary[term]
        del self._terms[n:]

    def to_state(self) -> dict[str, Any]:
        """What cuts and weighs words, as JSON values: format, settings and stop words. The words are kept beside it."""
        return {
            "format": FORMAT,
            "settings": dataclasses.asdict(self.settings),
            "stop_words": {code: sorted(self.analyser.stop_words(code)) for code in self._listed()},
        }

    def _listed(self) -> Sequence[str]:
        return LISTED_LANGUAGES if self.settings.language == AUTO else (self.settings.language,)

    @classmethod
    def from_state(cls, state: Mapping[str, Any], words: Iterable[str] = ()) -> LexicalChannel:
        """From `to_state` and the words in the order of their dimensions. Raises InputError for anything else."""
        if not isinstance(state, Mapping):
            raise InputError("words: not the saved state of a lexical channel; index the documents anew")
        values = JsonObject(state, "words: not the saved state of a lexical channel")
        if (written := values.text("format")) != FORMAT:
            raise InputError(
                f"words: kept as {written!r:.60}, while this version of saelex cuts and weighs words as {FORMAT!r}; "
                "index the documents anew"
            )
        listed = values.object("stop_words")
        stop_words = {language: listed.texts(language) for language in listed}
        channel = cls(settings_from(LexicalSettings, values.object("settings")), stop_words)
        channel.extend(words)
        return channel

    def __iter__(self) -> Iterator[str]:
        """The words in the order of their dimensions."""
        return iter(self._known())
