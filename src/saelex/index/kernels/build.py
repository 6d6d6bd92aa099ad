"""Making postings, compiled by numba: transposing, merging, capping. `reference.py` says the same in plain numpy.

Apart from `scoring.py`, because a process that only searches should not load what only a writer needs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import types
from numpy.typing import NDArray

from saelex.index.kernels.arrays import CappedPostings, ForwardRows, Postings, Weights
from saelex.index.kernels.scoring import I32, I64, U8, U16, compiled, read, write


def build_postings(forward: ForwardRows, n_columns: int) -> Postings:
    """Transposes rows into postings: a counting sort by column, linear in the non-zeros.

    Every latent must be below n_columns (the caller's check: it knows which document to blame).
    """
    indptr = np.zeros(n_columns + 1, np.int64)
    _count(forward.latents, indptr)
    np.cumsum(indptr, out=indptr)
    rows = np.empty(len(forward.latents), np.int32)
    weights = np.empty_like(forward.weights, order="C")
    _transpose(forward.indptr, forward.latents, forward.weights, indptr[:-1].copy(), rows, weights)
    return Postings(indptr, rows, weights)


def merge_postings(parts: Sequence[Postings], row_maps: Sequence[NDArray[np.int32]]) -> Postings:
    """One set of postings out of several, in order.

    row_maps: for every part the new number of each of its rows, -1 for rows to drop; ascending over all parts.
    The result has as many columns as the widest part.
    """
    n_columns = max(part.n_columns for part in parts)
    indptr = np.zeros(n_columns + 1, np.int64)
    for part, row_map in zip(parts, row_maps):
        _count_kept(part.indptr, part.rows, row_map, indptr)
    np.cumsum(indptr, out=indptr)
    rows = np.empty(int(indptr[-1]), np.int32)
    weights = np.empty(int(indptr[-1]), parts[0].weights.dtype)
    cursors = indptr[:-1].copy()
    for part, row_map in zip(parts, row_maps):
        _append(part.indptr, part.rows, part.weights, row_map, cursors, rows, weights)
    return Postings(indptr, rows, weights)


def cap_postings(postings: Postings, cap: int) -> CappedPostings:
    """The `cap` heaviest postings of every column that has more (ties: lower rows stay), rows ascending."""
    lengths = np.diff(postings.indptr)
    return CappedPostings(*heaviest(*postings, np.where(lengths > cap, cap, 0)))


def heaviest(
    indptr: NDArray[np.int64], indices: NDArray[np.int32], weights: Weights, lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32], Weights]:
    """Of every row (or column) i of a compressed matrix the lengths[i] heaviest entries, in their order.

    Ties: the earlier entry stays. lengths[i] is at most the row's own length.
    """
    kept = np.zeros(len(indptr), np.int64)
    np.cumsum(lengths, out=kept[1:])
    kept_indices = np.empty(int(kept[-1]), np.int32)
    kept_weights = np.empty(int(kept[-1]), weights.dtype)
    _heaviest(indptr, indices, weights, kept, kept_indices, kept_weights)
    return kept, kept_indices, kept_weights


@compiled(types.void(read(I32), write(I64)))
def _count(latents: NDArray[np.int32], indptr: NDArray[np.int64]) -> None:
    for latent in latents:
        indptr[np.uint64(latent) + np.uint64(1)] += 1


@compiled(*(types.void(read(I64), read(I32), read(w), write(I64), write(I32), write(w)) for w in (U8, U16)))
def _transpose(
    indptr: NDArray[np.int64],
    latents: NDArray[np.int32],
    weights: Weights,
    cursors: NDArray[np.int64],
    out_rows: NDArray[np.int32],
    out_weights: Weights,
) -> None:
    for row in range(len(indptr) - 1):
        for entry in range(indptr[row], indptr[row + 1]):
            latent = np.uint64(latents[entry])
            at = np.uint64(cursors[latent])
            cursors[latent] += 1
            out_rows[at] = row
            out_weights[at] = weights[entry]


@compiled(types.void(read(I64), read(I32), read(I32), write(I64)))
def _count_kept(
    indptr: NDArray[np.int64], rows: NDArray[np.int32], row_map: NDArray[np.int32], out_indptr: NDArray[np.int64]
) -> None:
    for column in range(len(indptr) - 1):
        kept = 0
        for entry in range(indptr[column], indptr[column + 1]):
            kept += row_map[rows[entry]] >= 0
        out_indptr[column + 1] += kept


@compiled(*(types.void(read(I64), read(I32), read(w), read(I32), write(I64), write(I32), write(w)) for w in (U8, U16)))
def _append(
    indptr: NDArray[np.int64],
    rows: NDArray[np.int32],
    weights: Weights,
    row_map: NDArray[np.int32],
    cursors: NDArray[np.int64],
    out_rows: NDArray[np.int32],
    out_weights: Weights,
) -> None:
    for column in range(len(indptr) - 1):
        at = cursors[column]
        for entry in range(indptr[column], indptr[column + 1]):
            row = row_map[rows[entry]]
            if row >= 0:
                out_rows[at] = row
                out_weights[at] = weights[entry]
                at += 1
        cursors[column] = at


@compiled(*(types.void(read(I64), read(I32), read(w), read(I64), write(I32), write(w)) for w in (U8, U16)))
def _heaviest(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    weights: Weights,
    kept: NDArray[np.int64],
    kept_indices: NDArray[np.int32],
    kept_weights: Weights,
) -> None:
    counts = np.empty(256, np.int64)
    for row in range(len(indptr) - 1):
        at, remaining = kept[row], kept[row + 1] - kept[row]
        if remaining == 0:
            continue
        first, last = indptr[row], indptr[row + 1]
        # The lightest weight to keep by two histograms: of the high byte, then of the low byte where the high one ties.
        least = 0
        for shift in (8, 0):
            counts[:] = 0
            for entry in range(first, last):
                weight = np.int64(weights[entry])
                if shift == 8 or weight >> 8 == least >> 8:
                    counts[(weight >> shift) & 255] += 1
            byte = 255
            while counts[byte] < remaining:
                remaining -= counts[byte]
                byte -= 1
            least |= byte << shift
        for entry in range(first, last):
            weight = np.int64(weights[entry])
            tie = weight == least
            if weight > least or (tie and remaining > 0):
                remaining -= tie
                kept_indices[at] = indices[entry]
                kept_weights[at] = weights[entry]
                at += 1
