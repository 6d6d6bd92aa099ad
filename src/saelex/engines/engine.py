"""Engine: an index that was pushed to a search engine, searched there with the same options, hits and reasons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.concepts.steering import Steering, resolver
from saelex.corpus.documents import Document
from saelex.encoder.words.channel import LexicalChannel
from saelex.encoder.words.languages import DEFAULT_LANGUAGE
from saelex.engines.contents import Contents
from saelex.engines.facets import Test, tests_of
from saelex.engines.files.format import Vector
from saelex.engines.store import Entry, Found, Store
from saelex.engines.url import EngineUrl, store_class
from saelex.errors import MismatchError, SaelexError
from saelex.index.hits import AskedQuery, Hit, StoredWeights
from saelex.index.passages import Passage
from saelex.index.quantise import QuantisedQuery
from saelex.index.request import Request, check_queries, check_query
from saelex.vectors import SparseRows

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from saelex.concepts.explanation import Explanation
    from saelex.concepts.store import ConceptStore
    from saelex.index.engine import Limits
    from saelex.index.filters import Where
    from saelex.index.request import SearchOptions
    from saelex.index.text_encoder import TextEncoder

_BITS = 26  # of a weight in an explanation: more than a float32 has, and 400 products of two fit 63 bits


class EngineWords(NamedTuple):
    """The words of a collection, as hits name them."""

    channel: LexicalChannel

    def word(self, dimension: int) -> str:
        """The (stemmed) word of a dimension."""
        return self.channel.word(dimension)

    def query(self, texts: Sequence[str]) -> SparseRows:
        """Query vectors [texts, words], weighed as the index weighs them; words that no passage has are left out."""
        statistics = self.channel.statistics
        assert statistics is not None
        rows = self.channel.query(list(texts))
        return rows.keep(statistics.frequency(rows.latents) > 0)


class Engine:
    """An open collection of a search engine. Searching is safe from several threads.

    What it holds is what `saelex push` last put there: documents, vectors, words with their statistics, and labels.
    """

    def __init__(self, store: Store, encoder: TextEncoder | None = None) -> None:
        self.store = store
        self._lock = Lock()
        self._encoder: TextEncoder | None = None
        self.contents = Contents.read(store)
        words = self.contents.words
        self._words = None if words is None else EngineWords(words)
        if words is not None and len(words):
            words.word(0)  # reads the words in order, once, before there are several threads
        if encoder is not None:
            self._take(encoder)

    @classmethod
    def open(cls, url: str, encoder: TextEncoder | None = None) -> Engine:
        """The collection at a URL (`saelex.engines.url`). Without an encoder, the one that made it is loaded when needed.

        Raises InputError for a URL that means nothing and for a collection that is not there, SaelexError for an engine
        that does not answer, MismatchError for another encoder.
        """
        parsed = EngineUrl.parse(url)
        store = store_class(parsed).open(parsed)
        try:
            return cls(store, encoder)
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        """Let go of the connection."""
        if "concepts" in self.__dict__ and self.concepts is not None:
            self.concepts.close()
        self.store.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """Number of documents."""
        return self.contents.documents

    def __repr__(self) -> str:
        return f"Engine({str(self.store.url)!r}, {len(self):,} documents, encoder {self.contents.settings['encoder']!r})"

    @property
    def limits(self) -> Limits:
        """What the engine caps, and how exact it is."""
        return self.store.limits

    @property
    def n_latents(self) -> int:
        """Latents of its vectors, words not counted."""
        return int(self.contents.settings["n_latents"])

    @property
    def language(self) -> str:
        """Of its words; the default where it has none."""
        return DEFAULT_LANGUAGE if self._words is None else self._words.channel.settings.language

    @property
    def encoder(self) -> TextEncoder:
        """The encoder that made its vectors. Raises MismatchError when what its name loads today gives other ones."""
        with self._lock:
            if self._encoder is None:
                from saelex.encoder.encoder import Encoder

                self._take(Encoder.load(self.contents.settings["encoder"]))
        assert self._encoder is not None
        return self._encoder

    def _take(self, encoder: TextEncoder) -> None:
        settings = self.contents.settings
        if encoder.fingerprint != settings["fingerprint"]:
            raise MismatchError(
                f"{self.store.url}: made with the encoder {settings['encoder']!r} ({settings['fingerprint'][:12]}), "
                f"not with {encoder.name!r} ({encoder.fingerprint[:12]}); open it with that one"
            )
        self._encoder = encoder

    @cached_property
    def concepts(self) -> ConceptStore | None:
        """What its latents mean, if the index that was pushed had labels."""
        return self.contents.concepts(self.store)

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        boost: Iterable[str] = (),
        ban: Iterable[str] = (),
        add: Iterable[str] = (),
        where: Where | None = None,
        words: bool = True,
        language: str | None = None,
    ) -> list[Hit]:
        """The k best documents for a query, best first; options as in `Index.search`. Ties go to what was added first.

        Raises InputError as that does, and for a filter that the engine cannot answer.
        """
        options: SearchOptions = {
            "boost": boost, "ban": ban, "add": add, "where": where, "words": words, "language": language,
        }  # fmt: skip
        check_query(query)
        return self.search_batch([query], k, **options)[0]

    def search_batch(self, queries: Sequence[str], k: int = 10, **options: Unpack[SearchOptions]) -> list[list[Hit]]:
        """The hits of many queries, one after the other; options as in `search`."""
        texts = check_queries(queries, "search_batch")
        for i, query in enumerate(texts):
            check_query(query, i)
        named = None if self._words is None else self._words.channel
        request = Request.read(k, resolver(self.n_latents, self.concepts, named), **options)
        self.contents.fields.check(options.get("where") or {})
        tests = tests_of(options.get("where"))
        rows = self.query_vectors(texts, words=request.words) if texts else SparseRows.empty(self.n_latents)
        return [self._hits(text, rows[i], request, tests) for i, text in enumerate(texts)]

    def query_vectors(self, texts: Sequence[str], *, words: bool = True) -> SparseRows:
        """The vectors with which it is searched, before any steering: latents, and the words after them."""
        latents = self.encoder.encode_query(list(texts))
        return latents if self._words is None else latents.beside(self._words.query(texts if words else [""] * len(texts)))

    def _hits(self, text: str, row: SparseRows, request: Request, tests: Sequence[Test]) -> list[Hit]:
        if request.steering:
            row = request.steering.apply(row)
        found = self._best(Vector(*row.row(0)), request.k, tests)
        first = {one.entry.document for one in found if one.entry.id != one.entry.document}
        whole = {one.entry.id: one.entry for one in found} | self.store.get(first)
        asked = self._asked(text, row, request.steering, request.language)
        hits: list[Hit] = []
        for rank, (entry, score) in enumerate(found, start=1):
            kept = whole.get(entry.document)
            if kept is None:
                raise SaelexError(f"{self.store.url}: document {entry.document!r} is not whole there; push it again")
            document = Document(kept.document, kept.text, kept.title, dict(kept.metadata))
            passage = Passage(entry.start, entry.end)
            hits.append(Hit(rank, score, document, passage, partial(self._explain, asked, document, passage, entry)))
        return hits

    def _best(self, query: Vector, k: int, tests: Sequence[Test]) -> list[Found]:
        """The best passage of the k best documents."""
        deep = k
        while True:
            found = self.store.nearest(query, deep, tests)
            best: dict[str, Found] = {}
            for one in sorted(found, key=lambda one: (-one.score, one.entry.place)):
                best.setdefault(one.entry.document, one)
            if len(best) >= k or len(found) < deep:
                return list(best.values())[:k]
            deep *= 4  # several passages of one document: look further down

    def _asked(self, text: str, row: SparseRows, steering: Steering, language: str | None) -> AskedQuery:
        latents, weights = row.row(0)
        integers, step = _integers(weights)
        kept = integers != 0
        quantised = QuantisedQuery(latents[kept], integers[kept], step)
        parts = (self.n_latents, lambda: self.encoder, self._words, self.concepts, language)
        return AskedQuery(text, row, quantised, steering, *parts)

    def _explain(self, asked: AskedQuery, document: Document, passage: Passage, entry: Entry) -> Explanation:
        """From the vector that the engine gives back: the sum is its score within the precision that it states."""
        there = self.store.get([entry.id], ("digest",), vectors=True).get(entry.id)
        if there is None:
            raise SaelexError(f"{self.store.url}: document {document.id!r} is not there any more; search again")
        integers, step = _integers(there.vector.weights)
        stored = StoredWeights(there.vector.columns, integers, None, step * asked.quantised.step)
        return asked.reasons(document, passage, stored)


def _integers(weights: NDArray[np.float32]) -> tuple[NDArray[np.int32], float]:
    """The weights as integers times a power of two."""
    heaviest = float(np.abs(weights).max(initial=0.0)) or 1.0
    step = float(2.0 ** (np.ceil(np.log2(heaviest)) - _BITS))
    return np.rint(weights.astype(np.float64) / step).astype(np.int32), step
