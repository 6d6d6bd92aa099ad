"""What a search gives back: documents in order, each with its best passage and, on request, the reasons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from saelex.concepts.concept import WORD_PREFIX
from saelex.concepts.content import ContentWords, content_words_in
from saelex.concepts.explanation import Explanation, FiredText, explain
from saelex.concepts.snippet import Snippet, cut_snippet
from saelex.concepts.steering import Steering
from saelex.concepts.store import ConceptStore
from saelex.corpus.documents import Document
from saelex.encoder.words.channel import LexicalChannel
from saelex.encoder.words.languages import DEFAULT_LANGUAGE
from saelex.errors import InputError
from saelex.index.disk.snapshot import Snapshot
from saelex.index.passages import Passage
from saelex.index.quantise import QuantisedQuery, token_positions
from saelex.index.text_encoder import TextEncoder
from saelex.vectors import SparseRows


@dataclass(frozen=True, eq=False, repr=False)
class Hit:
    """A found document.

    rank: from 1. score: the dot product of query and best passage. passage: its characters in `document.content`.
    """

    rank: int
    score: float
    document: Document
    passage: Passage
    explain: Callable[[], Explanation]
    """The contributions of latents and words that sum to the score; made when asked for."""

    @property
    def id(self) -> str:
        """The document's id."""
        return self.document.id

    @property
    def url(self) -> str | None:
        """Where the document is to be read, if its metadata say so under `url`."""
        url = self.document.metadata.get("url")
        return url if isinstance(url, str) else None

    @property
    def text(self) -> str:
        """The best passage."""
        return self.document.content[self.passage.start : self.passage.end]

    def snippet(self, words: int = 40, *, explanation: Explanation | None = None) -> Snippet:
        """About so many words of the best passage from where most of what matched lies, those that matched marked.

        Its start and end are characters in `document.content`; the title is not in it. Its marks name the rows of
        `Explanation.by_label` that they are of. explanation: this hit's, where it is there already. Raises InputError
        for a number of words below 1.
        """
        if not isinstance(words, int) or isinstance(words, bool) or words < 1:
            raise InputError(f"a snippet has at least 1 word, not {words!r}")
        content, title = self.document.content, self.document.title
        shown = content[: self.passage.end]
        start = self.passage.start
        if not start and self.document.text.strip() and shown.startswith(title):
            start = min(len(title), len(shown))
        return cut_snippet(shown, self.explain() if explanation is None else explanation, words, start)

    def __repr__(self) -> str:
        return f"Hit(rank={self.rank}, score={self.score:.6g}, id={self.id!r}, title={self.document.title!r})"

    def to_json(self, explanation: bool = True) -> dict[str, Any]:
        """As JSON values."""
        values: dict[str, Any] = {
            "rank": self.rank,
            "id": self.id,
            "score": self.score,
            "title": self.document.title,
            "text": self.text,
            "url": self.url,
            "metadata": dict(self.document.metadata),
        }
        return {**values, "explanation": self.explain().to_json()} if explanation else values


def hits_to_json(query: str, hits: Sequence[Hit], explanation: bool = True) -> dict[str, Any]:
    """A whole search as JSON values: `{"query", "hits": [...]}`, each hit as `Hit.to_json` has it."""
    return {"query": query, "hits": [hit.to_json(explanation) for hit in hits]}


class StoredWeights(NamedTuple):
    """A passage's vector in integers. scale: what one unit of their product with the query's is worth."""

    latents: NDArray[np.int32]  # [non-zeros], ascending
    weights: NDArray[Any]  # [non-zeros], integers
    positions: NDArray[np.int32] | None  # [non-zeros], as in SparseRows; None: unknown
    scale: float


class KnownWords(Protocol):
    """The words of an index: what cuts texts into them, and the (stemmed) word of a dimension."""

    @property
    def channel(self) -> LexicalChannel:
        """Cuts texts."""

    def word(self, dimension: int) -> str:
        """Safe from several threads."""


@dataclass(frozen=True, eq=False)
class AskedQuery:
    """A query as it was searched with, and what explains its hits, wherever the documents' vectors are.

    row: [1, latents + words], steered. quantised: its integers, those that are explained.
    """

    text: str
    row: SparseRows
    quantised: QuantisedQuery
    steering: Steering
    n_latents: int
    encoder: Callable[[], TextEncoder]
    """Loaded only when somebody asks why."""
    words: KnownWords | None
    concepts: ConceptStore | None
    language: str | None
    """Of the labels; None: the text's own."""

    def reasons(self, document: Document, passage: Passage, stored: StoredWeights) -> Explanation:
        """Why the passage has its score.

        Where no positions were kept, the passage is encoded again to learn at which tokens its latents fired.
        """
        text = document.content[passage.start : passage.end]
        return explain(
            self._fired_query(),
            self._fired_document(text, stored),
            document_id=document.id,
            scale=stored.scale,
            n_latents=self.n_latents,
            label=self.label,
            steering=self.steering,
        )

    def label(self, latent: int) -> str:
        """A latent's label in the reader's language where there is one, or a word after "word:"."""
        if self.words is not None and latent >= self.n_latents:
            return WORD_PREFIX + self.words.word(latent - self.n_latents)
        return self.encoder().label(latent) if self.concepts is None else self.concepts.label(latent, self._reader)

    @cached_property
    def _reader(self) -> str | None:
        return self.language if self.language or self.concepts is None else self.concepts.language_of(self.text)

    def _fired_query(self) -> FiredText:
        positions = None
        if self.row.positions is not None:
            positions = self.row.positions[np.searchsorted(self.row.latents, self.quantised.latents)]
        return FiredText(
            self.text,
            self.quantised.latents,
            self.quantised.weights,
            positions,
            self.encoder().token_spans(self.text, "query"),
            self._word_spans(self.text, query=True),
            self._is_content(self.text),
        )

    def _fired_document(self, text: str, stored: StoredWeights) -> FiredText:
        latents, weights = stored.latents, stored.weights
        positions = np.full(len(latents), -1, np.int32) if stored.positions is None else stored.positions
        if not np.any(positions >= 0):  # vectors made elsewhere, or looked up, have none
            fired = self.encoder().encode_document([text])
            known = dict(zip(fired.latents.tolist(), [] if fired.positions is None else fired.positions.tolist()))
            positions = np.array([known.get(latent, -1) for latent in latents.tolist()], np.int32)
        spans = self.encoder().token_spans(text, "document")
        return FiredText(text, latents, weights, positions, spans, self._word_spans(text), self._is_content(text))

    def _is_content(self, text: str) -> ContentWords:
        return content_words_in(text, DEFAULT_LANGUAGE if self.words is None else self.words.channel.settings.language)

    def _word_spans(self, text: str, *, query: bool = False) -> list[tuple[int, int, int]]:
        if self.words is None:
            return []
        spans = self.words.channel.spans(text, query=query)
        return [(self.n_latents + dimension, start, end) for dimension, start, end in spans]


@dataclass(frozen=True, eq=False)
class SearchedQuery(AskedQuery):
    """A query of an index, scored in its integers. scale: what one unit of an integer product is worth."""

    snapshot: Snapshot
    scale: float

    def explain(self, document: Document, passage: Passage, row: int) -> Explanation:
        """Why the passage in this row of the index has its score.

        Where the index keeps no forward rows, the stored weights come from the query's postings.
        """
        segment, i = self.snapshot.segment_of(row)
        if segment.forward is None:
            stored = StoredWeights(*segment.weights_of(i, self.quantised.latents), None, self.scale)
        else:
            _, latents, weights, kept = segment.entries_of(np.array([i]))
            stored = StoredWeights(latents, weights, None if kept is None else token_positions(kept), self.scale)
        return self.reasons(document, passage, stored)
