"""What a reader sees: the segments and tombstones of one commit, ready to be searched."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from saelex.index.disk.segments import Segment
from saelex.index.modes import SegmentView

_FILTERS_KEPT = 16


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One commit, in memory. Rows are numbered through all segments; their order is that of the passages' numbers.

    generation: number of the commit. tombstones: [deleted documents], ascending; their rows are still there.
    """

    generation: int
    segments: tuple[Segment, ...]
    tombstones: NDArray[np.int64]
    filtered: OrderedDict[str, list[SegmentView]] = field(default_factory=OrderedDict, init=False)
    """The views of the last filters used, by filter; they go with the snapshot."""
    frequencies_known: dict[int, int] = field(default_factory=dict, init=False)
    """Of the columns that were asked for; they go with the snapshot, too."""

    @cached_property
    def passages(self) -> NDArray[np.int64]:
        """Passage number of every row, ascending, [rows]."""
        return _concatenate([segment.passages for segment in self.segments])

    @cached_property
    def documents(self) -> NDArray[np.int64]:
        """Document number of every row, ascending, [rows]."""
        return _concatenate([segment.documents for segment in self.segments])

    @property
    def n_rows(self) -> int:
        """Rows of all segments, those of deleted documents included."""
        return sum(segment.n_rows for segment in self.segments)

    @cached_property
    def n_live(self) -> int:
        """Rows of all segments without those of deleted documents."""
        return sum(view.n_rows if view.live is None else int(view.live.sum(dtype=np.int64)) for view in self.views)

    def frequencies(self, columns: NDArray[np.int32]) -> NDArray[np.int64]:
        """In how many live rows each of the columns is, shaped like them; 0 for columns beyond all segments."""
        asked, known = columns.tolist(), self.frequencies_known
        if new := set(asked) - known.keys():
            counted = np.sort(np.array(list(new), columns.dtype))
            known.update(zip(counted.tolist(), self._count(counted).tolist()))
        return np.array([known[column] for column in asked], np.int64)

    def _count(self, columns: NDArray[np.int32]) -> NDArray[np.int64]:
        """`frequencies` of columns that ascend."""
        counts = np.zeros(len(columns), np.int64)
        for view in self.views:
            indptr, rows, _ = view.postings.lines(columns)
            inside = columns[columns < len(indptr) - 1]  # the first of them
            firsts, lasts = indptr[inside], indptr[inside + 1]
            if view.live is None:
                counts[: len(inside)] += lasts - firsts
            else:
                live = [np.count_nonzero(view.live[rows[first:last]]) for first, last in zip(firsts, lasts)]
                counts[: len(inside)] += np.array(live, np.int64)
        return counts

    @cached_property
    def first_rows(self) -> list[int]:
        """Number of each segment's first row."""
        return [int(n) for n in np.cumsum([0, *(segment.n_rows for segment in self.segments)])[:-1]]

    @cached_property
    def views(self) -> list[SegmentView]:
        """What the searches take; deleted documents are masked."""
        views = []
        for segment, first_row in zip(self.segments, self.first_rows):
            # what is not needed is not read: without deleted documents no row's document
            dead = _contains(self.tombstones, segment.documents) if len(self.tombstones) else np.zeros(0, np.bool_)
            views.append(
                SegmentView(
                    postings=segment.postings,
                    first_row=first_row,
                    n_rows=segment.n_rows,
                    live=(~dead).astype(np.uint8) if dead.any() else None,
                    forward=segment.forward,
                    capped=segment.capped,
                    first_step=segment.first_step,
                )
            )
        return views

    def keep_filtered(self, name: str, documents: NDArray[np.int64]) -> Sequence[SegmentView]:
        """The views with all rows masked but those of the given documents ([documents], ascending), kept by name."""
        views: list[SegmentView] = []
        for view, segment in zip(self.views, self.segments):
            chosen = _contains(documents, segment.documents).astype(np.uint8)
            views.append(replace(view, live=chosen if view.live is None else chosen & view.live))
        self.filtered[name] = views
        while len(self.filtered) > _FILTERS_KEPT:
            self.filtered.popitem(last=False)
        return views

    def segment_of(self, row: int) -> tuple[Segment, int]:
        """The segment that holds a row, and the row's number inside it."""
        i = int(np.searchsorted(self.first_rows, row, side="right")) - 1
        return self.segments[i], row - self.first_rows[i]


def _concatenate(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _contains(chosen: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the numbers are among the chosen ones; both ascending, so one merge-like lookup does."""
    if not len(chosen) or not len(numbers):
        return np.zeros(len(numbers), np.bool_)
    # mark the borders of each chosen number's run, which costs the chosen and not the rows' logarithms
    starts = np.searchsorted(numbers, chosen, side="left")
    ends = np.searchsorted(numbers, chosen, side="right")
    marks = np.zeros(len(numbers) + 1, np.int8)
    np.add.at(marks, starts, 1)
    np.add.at(marks, ends, -1)
    return np.cumsum(marks[:-1], dtype=np.int8).view(np.bool_)
