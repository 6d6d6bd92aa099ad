"""Three ways to search a list of segments: exact, capped, and in two steps.

Weights are integers on both sides, so a score is an integer sum: equal over any split into segments, with exact ties
(the lower row comes first). A hit is a live row with a score above zero. Tombstones and filters (`SegmentView.live`)
act before candidates are chosen, so no mode loses its candidates to rows that must not be shown.

Sums are int32. A score is at most the sum of the query's absolute weights times the largest stored weight, which is
checked before every search.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.compiling import counted, loops
from saelex.errors import InputError
from saelex.index.kernels import reference
from saelex.index.kernels.arrays import LAST_ROW, NO_LINES, NO_SCORE, CappedPostings, ForwardRows, Lines, Postings

BLOCK = 1 << 16
"""Rows scored together: 256 KiB of accumulators, which stay in a core's level 2 cache."""

_SLACK = 64  # keys gathered beyond twice the k wanted, so that small k do not cut after every few hits
_LARGEST_SUM = 2**31 - 1


@dataclass(frozen=True, eq=False)
class SegmentView:
    """What searching needs of a segment. Cheap to make: `dataclasses.replace(view, live=mask)` applies a filter.

    A segment may have fewer columns than others (the vocabulary of words grows): a query column beyond has no postings.
    """

    postings: Lines[Postings]
    first_row: int  # global number of its row 0; segments never overlap
    n_rows: int
    live: NDArray[np.uint8] | None = None  # [n_rows], 0 where deleted or filtered out; None: all rows are live
    forward: Lines[ForwardRows] | None = None  # needed by capped and two_step
    capped: Lines[CappedPostings] | None = None  # needed by capped; see kernels.build.cap_postings
    first_step: Lines[Postings] | None = None  # needed by two_step; see disk.pruning.first_step_postings


class TopRows(NamedTuple):
    """Hits of one query, best first; ties by ascending row, the order in which they were added."""

    rows: NDArray[np.int64]  # global row numbers, at most k
    scores: NDArray[np.int64]
    postings: int  # postings read, over all segments


class _Scratch(threading.local):
    """Arrays that every query of a thread uses again. `accumulators` and `spread` are all zero between queries."""

    def __init__(self) -> None:
        self.accumulators = np.zeros(BLOCK, np.int32)
        self.spread = np.zeros(0, np.int32)

    def spread_for(self, n_columns: int) -> NDArray[np.int32]:
        if len(self.spread) < n_columns:
            self.spread = np.zeros(n_columns, np.int32)
        return self.spread


_scratch = _Scratch()
_NO_COLUMNS = np.zeros(1, np.int64)
_NO_ROWS = np.zeros(0, np.int32)
_ALL_LIVE = np.zeros(0, np.uint8)
_NO_WEIGHTS: dict[np.dtype[Any], Any] = {np.dtype(dtype): np.zeros(0, dtype) for dtype in (np.uint8, np.uint16)}


def search_exact(
    segments: Sequence[SegmentView], columns: NDArray[np.int32], factors: NDArray[np.int32], k: int
) -> TopRows:
    """The k rows with the largest dot product.

    columns: [terms], all different; factors: [terms], the query's integer weights. Raises InputError where a sum could
    overflow 32 bits.
    """
    columns, factors = _checked(segments, columns, factors)
    gathered = _Gathered(k, len(columns))
    for segment in segments:
        gathered.add(segment, segment.postings.lines(columns), None, columns, factors)
    return _top_rows(gathered.best(), gathered.postings)


def search_capped(
    segments: Sequence[SegmentView],
    columns: NDArray[np.int32],
    factors: NDArray[np.int32],
    k: int,
    *,
    candidates: int = 100,
) -> TopRows:
    """Nearly the k best: candidates by the heaviest postings of each column only, then their exact scores.

    Scores are exact; a row is missed when too much of its score lies in postings beyond the caps. candidates: rows that
    get an exact score, at least 4 k. Raises InputError like search_exact, and for segments without pruned postings.
    """
    columns, factors = _checked(segments, columns, factors)
    gathered = _Gathered(max(candidates, 4 * k), len(columns))
    for segment in segments:
        if segment.capped is None or segment.forward is None:
            raise InputError(
                "capped search reads pruned postings, which this index was created without; search it exactly"
            )
        capped = segment.capped.lines(columns)
        gathered.add(segment, segment.postings.lines(capped.lacking(columns)), capped, columns, factors)
    return _rescored(segments, gathered, columns, factors, k)


def search_two_step(
    segments: Sequence[SegmentView],
    columns: NDArray[np.int32],
    factors: NDArray[np.int32],
    k: int,
    *,
    query_terms: int = 10,
    candidates: int = 100,
) -> TopRows:
    """Two-Step SPLADE (arXiv 2404.13357): candidates by pruned, re-saturated vectors, then their exact scores.

    query_terms: so many of the query's columns, the heaviest, are used in the first step. candidates: rows that get an
    exact score, at least 4 k. Raises InputError like search_exact, and for segments without pruned postings.
    """
    columns, factors = _checked(segments, columns, factors)
    pruned_columns, pruned_factors = heaviest_terms(columns, factors, query_terms)
    gathered = _Gathered(max(candidates, 4 * k), query_terms)
    for segment in segments:
        if segment.first_step is None or segment.forward is None:
            raise InputError(
                "two_step search reads pruned postings, which this index was created without; search it exactly"
            )
        gathered.add(segment, segment.first_step.lines(pruned_columns), None, pruned_columns, pruned_factors)
    return _rescored(segments, gathered, columns, factors, k)


def kernels(*, much: bool = False) -> Any:
    """`score_rows` and `rescore_rows`, compiled where that is due; from then on searches take the compiled ones."""
    return loops(reference, "saelex.index.kernels.scoring", much=much)


def heaviest_terms(
    columns: NDArray[np.int32], factors: NDArray[np.int32], n_terms: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The query's `n_terms` heaviest columns (by absolute weight; ties: lower columns), still ascending."""
    if len(columns) <= n_terms:
        return columns, factors
    chosen = np.sort(np.argsort(-np.abs(factors), kind="stable")[:n_terms])
    return columns[chosen], factors[chosen]


class _Gathered:
    """The best keys so far (see kernels/scoring.py) of one query, segment after segment."""

    def __init__(self, k: int, n_terms: int) -> None:
        self._k = k
        self._keys = np.empty(2 * k + _SLACK, np.int64)
        self._state = np.array([0, NO_SCORE, 0], np.int64)
        self._cursors = np.empty(2 * n_terms, np.int64)

    def add(
        self,
        segment: SegmentView,
        postings: Postings,
        capped: CappedPostings | None,
        columns: NDArray[np.int32],
        factors: NDArray[np.int32],
    ) -> None:
        if capped is None:
            capped = CappedPostings(_NO_COLUMNS, _NO_ROWS, _NO_WEIGHTS[np.dtype(postings.weights.dtype)])
        live = _ALL_LIVE if segment.live is None else segment.live
        with counted():
            kernels().score_rows(
                *postings, *capped, live, segment.n_rows, segment.first_row,
                columns, factors, _scratch.accumulators, self._cursors, self._keys, self._k, self._state,
            )  # fmt: skip

    def best(self) -> NDArray[np.int64]:
        """At most k keys, the best first."""
        found = np.sort(self._keys[: self._state[0]])[::-1]
        return found[: self._k]

    @property
    def postings(self) -> int:
        return int(self._state[2])


def _rescored(
    segments: Sequence[SegmentView],
    gathered: _Gathered,
    columns: NDArray[np.int32],
    factors: NDArray[np.int32],
    k: int,
) -> TopRows:
    """The k best of the rows gathered, by their exact scores from the forward rows."""
    rows = np.sort(_rows(gathered.best()))
    scores = np.empty(len(rows), np.int64)
    n_columns = max((segment.postings.lines(NO_LINES).n_columns for segment in segments), default=0)
    known = columns < n_columns
    spread = _scratch.spread_for(n_columns)
    try:
        spread[columns[known]] = factors[known]
        for segment in segments:
            first, last = np.searchsorted(rows, [segment.first_row, segment.first_row + segment.n_rows])
            if first < last and segment.forward is not None:
                own = rows[first:last] - segment.first_row
                indptr, latents, weights, _ = segment.forward.lines(own)
                kernels().rescore_rows(indptr, latents, weights, own, spread, scores[first:last])
    finally:  # an interrupt from the keyboard must not leave this query in the next one's sums
        spread[columns[known]] = 0
    keys = np.sort((scores << 32) | (LAST_ROW - rows))[::-1]
    return _top_rows(keys[keys > NO_SCORE][:k], gathered.postings)


def _checked(
    segments: Sequence[SegmentView], columns: NDArray[np.int32], factors: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    dtypes = {segment.postings.lines(NO_LINES).weights.dtype for segment in segments}
    largest = max((np.iinfo(dtype).max for dtype in dtypes), default=0)
    if int(np.abs(factors.astype(np.int64)).sum()) * largest > _LARGEST_SUM:
        raise InputError(
            f"query weights add up to more than {_LARGEST_SUM // largest}, so that a score could overflow 32 bits; "
            "quantise the query more coarsely"
        )
    return np.ascontiguousarray(columns, np.int32), np.ascontiguousarray(factors, np.int32)


def _rows(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    return LAST_ROW - (keys & LAST_ROW)


def _top_rows(keys: NDArray[np.int64], postings: int) -> TopRows:
    return TopRows(_rows(keys), keys >> 32, postings)
