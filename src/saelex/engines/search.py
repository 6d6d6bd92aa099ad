"""From a query's vector to hits: the best passages that an engine finds, as documents, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.concepts.store import ConceptStore
from saelex.corpus.documents import Document
from saelex.encoder.words.channel import LexicalChannel
from saelex.engines.entry import Entry, Found
from saelex.engines.facets import Test
from saelex.engines.files.format import Vector
from saelex.engines.store import Store
from saelex.errors import SaelexError
from saelex.index.hits import AskedQuery, Hit, StoredWeights
from saelex.index.passages import Passage
from saelex.index.quantise import QuantisedQuery
from saelex.index.request import Request
from saelex.vectors import SparseRows

if TYPE_CHECKING:
    from saelex.concepts.explanation import Explanation
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


@dataclass(frozen=True)
class EngineSearch:
    """One search of a collection. tests: the filter. encoder: loaded only when somebody asks why."""

    store: Store
    n_latents: int
    encoder: Callable[[], TextEncoder]
    words: EngineWords | None
    concepts: ConceptStore | None
    request: Request
    tests: Sequence[Test]

    def hits(self, text: str, row: SparseRows) -> list[Hit]:
        """Of one query; row: [1, latents + words], before any steering."""
        if self.request.steering:
            row = self.request.steering.apply(row)
        found = self._best(Vector(*row.row(0)))
        first = {one.entry.document for one in found if one.entry.id != one.entry.document}
        whole = {one.entry.id: one.entry for one in found} | self.store.get(first)
        asked = self._asked(text, row)
        hits: list[Hit] = []
        for rank, (entry, score) in enumerate(found, start=1):
            kept = whole.get(entry.document)
            if kept is None:
                raise SaelexError(f"{self.store.url}: document {entry.document!r} is not whole there; push it again")
            document = Document(kept.document, kept.text, kept.title, dict(kept.metadata))
            passage = Passage(entry.start, entry.end)
            hits.append(Hit(rank, score, document, passage, partial(self._explain, asked, document, passage, entry)))
        return hits

    def _best(self, query: Vector) -> list[Found]:
        """The best passage of the k best documents."""
        k = deep = self.request.k
        while True:
            found = self.store.nearest(query, deep, self.tests)
            best: dict[str, Found] = {}
            for one in sorted(found, key=lambda one: (-one.score, one.entry.place)):
                best.setdefault(one.entry.document, one)
            if len(best) >= k or len(found) < deep:
                return list(best.values())[:k]
            deep *= 4  # several passages of one document: look further down

    def _asked(self, text: str, row: SparseRows) -> AskedQuery:
        latents, weights = row.row(0)
        integers, step = _integers(weights)
        kept = integers != 0
        quantised = QuantisedQuery(latents[kept], integers[kept], step)
        parts = (self.n_latents, self.encoder, self.words, self.concepts, self.request.language)
        return AskedQuery(text, row, quantised, self.request.steering, *parts)

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
