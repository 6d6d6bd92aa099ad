"""Segments from rows, one segment out of several, and when to do the latter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saelex.index.disk.pruning import column_cap, first_step_postings
from saelex.index.disk.segments import Segment, SegmentArrays
from saelex.index.kernels.arrays import ForwardRows
from saelex.index.kernels.build import build_postings, cap_postings, merge_postings

MOST_ROWS = 1 << 18
"""A merge makes no larger segment: its memory stays bounded, and its score array stays in the processor's cache."""

_FANOUT = 8  # so many segments of a size become one: every row is written log8(n) + 1 times
_SMALLEST = 1024  # segments below this count as of one size


def build_segment(
    rows: ForwardRows,
    n_columns: int,
    passages: NDArray[np.int64],
    documents: NDArray[np.int64],
    *,
    forward: bool,
    pruned: bool,
) -> SegmentArrays:
    """The arrays of a segment that holds these rows.

    forward: keep the rows themselves. pruned: and what the `capped` and `two_step` searches read.
    """
    arrays = SegmentArrays(passages, documents, build_postings(rows, n_columns), rows if forward else None)
    return _with_pruned(arrays) if pruned else arrays


def merge_segments(segments: Sequence[SegmentArrays], tombstones: NDArray[np.int64], *, pruned: bool) -> SegmentArrays:
    """One segment out of several that follow each other; the rows of deleted documents are left out."""
    kept = [~np.isin(segment.documents, tombstones) for segment in segments]
    passages = np.concatenate([segment.passages[rows] for segment, rows in zip(segments, kept)])
    documents = np.concatenate([segment.documents[rows] for segment, rows in zip(segments, kept)])
    ends = np.cumsum(np.concatenate(kept))
    row_maps = [
        np.where(rows, part - 1, -1).astype(np.int32)
        for rows, part in zip(kept, np.split(ends, np.cumsum([len(rows) for rows in kept])[:-1]))
    ]
    postings = merge_postings([segment.postings for segment in segments], row_maps)
    forward = [segment.forward for segment in segments if segment.forward is not None]
    merged = _concatenate_rows(forward, kept) if len(forward) == len(segments) else None
    arrays = SegmentArrays(passages, documents, postings, merged)
    return _with_pruned(arrays) if pruned else arrays


def segments_to_merge(segments: Sequence[Segment]) -> list[Segment]:
    """The newest segments that a writer should merge now, or none.

    Size-tiered, as in LSM trees: when the last eight or more segments are all of one size class or smaller, they become
    one, as far as the result stays below `MOST_ROWS`. Only neighbours are merged, so rows keep their order.
    """
    run: list[Segment] = []
    total = largest = 0
    for segment in reversed(segments):
        total += segment.n_rows
        if total > MOST_ROWS:
            break
        run.append(segment)
        largest = max(largest, _size_class(segment))
        enough = sum(_size_class(member) == largest for member in run) >= _FANOUT
        if enough and (len(run) == len(segments) or _size_class(segments[-len(run) - 1]) > largest):
            return run[::-1]
    return []


def groups_to_merge(segments: Sequence[Segment], tombstones: NDArray[np.int64]) -> list[list[Segment]]:
    """What `merge()` rewrites: neighbours as far as they fit into one segment, and segments with deleted rows."""
    groups: list[list[Segment]] = []
    rows = 0
    for segment in segments:
        if not groups or rows + segment.n_rows > MOST_ROWS:
            groups.append([])
            rows = 0
        groups[-1].append(segment)
        rows += segment.n_rows
    return [
        group
        for group in groups
        if len(group) > 1 or bool(np.isin(tombstones, group[0].documents, assume_unique=False).any())
    ]


def _size_class(segment: Segment) -> int:
    return int(np.log(max(1.0, segment.n_rows / _SMALLEST)) / np.log(_FANOUT))


def _with_pruned(arrays: SegmentArrays) -> SegmentArrays:
    assert arrays.forward is not None  # no index is created with the one and without the other
    return arrays._replace(
        capped=cap_postings(arrays.postings, column_cap(arrays.n_rows)),
        first_step=first_step_postings(arrays.forward, arrays.postings.n_columns),
    )


def _concatenate_rows(parts: Sequence[ForwardRows], kept: Sequence[NDArray[np.bool_]]) -> ForwardRows:
    entries = [np.repeat(rows, np.diff(part.indptr)) for part, rows in zip(parts, kept)]
    lengths = np.concatenate([np.diff(part.indptr)[rows] for part, rows in zip(parts, kept)])

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name)[mask] for part, mask in zip(parts, entries)])

    positions = joined("positions") if all(part.positions is not None for part in parts) else None
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return ForwardRows(indptr, joined("latents"), joined("weights"), positions)
