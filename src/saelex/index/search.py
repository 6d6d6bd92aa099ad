"""From query vectors to hits: the best rows of one snapshot, as documents, each with its best passage."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from saelex.concepts.store import ConceptStore
from saelex.errors import CorruptIndexError
from saelex.index.batch import search_views
from saelex.index.disk.snapshot import Snapshot
from saelex.index.disk.storage import Storage
from saelex.index.hits import Hit, SearchedQuery
from saelex.index.modes import SegmentView
from saelex.index.passages import Passage
from saelex.index.request import Request
from saelex.index.text_encoder import TextEncoder
from saelex.index.word_state import WordState
from saelex.vectors import SparseRows


class _Place(NamedTuple):
    """Where a document came out: its rank, from 1, and row and integer score of its best passage."""

    rank: int
    row: int
    score: int


@dataclass(frozen=True)
class Search:
    """One search of an open index.

    encoder: loaded only when somebody asks why. refresh: goes on to the last commit; whether there was a later one.
    read: told how many postings a query has read.
    """

    storage: Storage
    words: WordState | None
    concepts: ConceptStore | None
    encoder: Callable[[], TextEncoder]
    refresh: Callable[[], bool]
    n_latents: int
    request: Request
    read: Callable[[int], None]

    def run(self, latents: SparseRows, texts: Sequence[str], only: str | None = None) -> list[list[Hit]]:
        """The hits of every query, best first.

        latents: [queries, latents], or with words' columns after them; texts: [queries]. only: the id of the one
        document that is made a hit of, at whatever rank it has.
        """
        while True:
            snapshot = self.storage.snapshot
            views = self._views(snapshot)
            number = None if only is None else self._number(only, snapshot)
            if views is not None and (only is None or number is not None):
                rows = self._beside_words(latents, texts, snapshot)
                searched = [self._searched(text, rows[i], snapshot) for i, text in enumerate(texts)]
                best = self._best_rows(
                    searched, views, snapshot, self.request.k if only is None else max(1, snapshot.n_rows)
                )
                if only is not None:
                    best = [[place for place in each if snapshot.documents[place.row] == number] for each in best]
                hits = self._hits(searched, best, snapshot)
                if hits is not None:
                    return hits
            # something was committed meanwhile: search what is there now; another thread may have gone on to it already
            if not self.refresh() and self.storage.snapshot is snapshot:
                raise CorruptIndexError(
                    f"{self.storage.folder}: a document of the index is missing; run `saelex check` on it"
                )

    def _number(self, name: str, snapshot: Snapshot) -> int | None:
        """A document's number in the snapshot, -1 without it. None when the catalogue has gone on to a later commit."""
        catalog = self.storage.catalog
        with catalog.reading():
            if catalog.generation() != snapshot.generation:
                return None
            return catalog.find([name]).get(name, (-1, None))[0]

    def _beside_words(self, latents: SparseRows, texts: Sequence[str], snapshot: Snapshot) -> SparseRows:
        if latents.n_latents == self.n_latents:
            return beside_words(latents, self.words, texts if self.request.words else [""] * len(texts), snapshot)
        return latents if self.request.words else latents.keep(latents.latents < self.n_latents)

    def _views(self, snapshot: Snapshot) -> Sequence[SegmentView] | None:
        """What to search of the snapshot. None when a filter is needed and the catalogue has gone on to a later commit.

        Its documents then have other numbers: one that was updated would be in neither.
        """
        if self.request.condition is None:
            return snapshot.views
        name = json.dumps(self.request.condition)
        known = snapshot.filtered.get(name)
        if known is not None:
            return known
        catalog = self.storage.catalog
        with catalog.reading():
            if catalog.generation() != snapshot.generation:
                return None
            documents = catalog.filtered(*self.request.condition)
        return snapshot.keep_filtered(name, documents)

    def _searched(self, text: str, row: SparseRows, snapshot: Snapshot) -> SearchedQuery:
        steering = self.request.steering
        if steering:
            row = steering.apply(row)
        quantiser = self.storage.quantiser
        quantised = quantiser.query(row.latents, row.weights)
        scale = quantised.step * quantiser.step
        parts = (self.n_latents, self.encoder, self.words, self.concepts, self.request.language, snapshot, scale)
        return SearchedQuery(text, row, quantised, steering, *parts)

    def _best_rows(
        self, searched: Sequence[SearchedQuery], views: Sequence[SegmentView], snapshot: Snapshot, k: int
    ) -> list[list[_Place]]:
        """The best passage of the k best documents of every query."""
        best: list[list[_Place]] = [[] for _ in searched]
        deep = k
        pending = list(range(len(searched)))
        while pending:
            tops = search_views(views, [searched[i].quantised for i in pending], deep, self.request.mode)
            self.read(sum(top.postings for top in tops))
            short: list[int] = []
            for i, top in zip(pending, tops):
                first = np.sort(np.unique(snapshot.documents[top.rows], return_index=True)[1])[:k]
                ranked = enumerate(zip(top.rows[first].tolist(), top.scores[first].tolist()), start=1)
                best[i] = [_Place(rank, row, score) for rank, (row, score) in ranked]
                if len(first) < k and len(top.rows) == deep:
                    short.append(i)  # several passages of one document: look further down
            pending, deep = short, 4 * deep
        return best

    def _hits(
        self, searched: Sequence[SearchedQuery], best: Sequence[Sequence[_Place]], snapshot: Snapshot
    ) -> list[list[Hit]] | None:
        """Hits out of rows, or None when a document is gone."""
        catalog = self.storage.catalog
        rows = np.array(sorted({place.row for each in best for place in each}), np.int64)
        numbers = dict(zip(rows.tolist(), snapshot.documents[rows].tolist()))
        passages = dict(zip(rows.tolist(), snapshot.passages[rows].tolist()))
        documents = catalog.documents(set(numbers.values()))
        if len(documents) < len(set(numbers.values())):
            return None
        hits: list[list[Hit]] = []
        for query, each in zip(searched, best):
            hits.append([])
            for rank, row, score in each:
                stored = documents[numbers[row]]
                document, passage = stored.document, Passage(*stored.borders(passages[row]))
                reasons = partial(query.explain, document, passage, row)
                hits[-1].append(Hit(rank, score * query.scale, document, passage, reasons))
        return hits


def beside_words(latents: SparseRows, words: WordState | None, texts: Sequence[str], snapshot: Snapshot) -> SparseRows:
    """Query vectors over latents with the words of their texts after them, in an index that has words."""
    return latents if words is None else latents.beside(words.query(texts, snapshot))
