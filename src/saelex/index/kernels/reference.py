"""The kernels once more, in plain numpy: short, meant to be read. The tests hold the two against each other.

A process searches with them until it has searched for about as long as numba takes to import (`saelex.compiling`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from saelex.index.kernels.arrays import LAST_ROW, ForwardRows, Postings, Weights


def build_postings(forward: ForwardRows, n_columns: int) -> Postings:
    """See build.build_postings."""
    rows = np.repeat(np.arange(forward.n_rows, dtype=np.int32), np.diff(forward.indptr))
    return _by_column(forward.latents, rows, forward.weights, n_columns)


def merge_postings(parts: Sequence[Postings], row_maps: Sequence[NDArray[np.int32]]) -> Postings:
    """See build.merge_postings."""
    columns = np.concatenate([_columns(part) for part in parts])
    rows = np.concatenate([row_map[part.rows] for part, row_map in zip(parts, row_maps)])
    weights = np.concatenate([part.weights for part in parts])
    kept = rows >= 0
    return _by_column(columns[kept], rows[kept], weights[kept], max(part.n_columns for part in parts))


def heaviest(
    indptr: NDArray[np.int64], indices: NDArray[np.int32], weights: Weights, lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32], Weights]:
    """See build.heaviest."""
    kept = np.zeros(len(indices), np.bool_)
    for begin, end, length in zip(indptr[:-1], indptr[1:], lengths):
        heaviest_first = np.argsort(-weights[begin:end].astype(np.int64), kind="stable")
        kept[begin + heaviest_first[:length]] = True
    return np.concatenate([[0], np.cumsum(lengths)]), indices[kept], weights[kept]


def score_rows(
    indptr: NDArray[np.int64],
    rows: NDArray[np.int32],
    weights: Weights,
    capped_indptr: NDArray[np.int64],
    capped_rows: NDArray[np.int32],
    capped_weights: Weights,
    live: NDArray[np.uint8],
    n_rows: int,
    first_row: int,
    columns: NDArray[np.int32],
    factors: NDArray[np.int32],
    accumulators: NDArray[np.int32],
    cursors: NDArray[np.int64],
    keys: NDArray[np.int64],
    k: int,
    state: NDArray[np.int64],
) -> None:
    """See scoring.score_rows; the scratch arrays `accumulators` and `cursors` are not used."""
    scores = np.zeros(n_rows, np.int64)
    for column, factor in zip(columns, factors):
        source = (indptr, rows, weights)
        if column < len(capped_indptr) - 1 and capped_indptr[column + 1] > capped_indptr[column]:
            source = (capped_indptr, capped_rows, capped_weights)
        if column < len(source[0]) - 1:
            entries = slice(source[0][column], source[0][column + 1])
            scores[source[1][entries]] += int(factor) * source[2][entries].astype(np.int64)
            state[2] += entries.stop - entries.start
    if len(live):
        scores[live == 0] = 0
    hits = np.flatnonzero(scores > 0)
    found = np.concatenate([keys[: state[0]], (scores[hits] << 32) | (LAST_ROW - first_row - hits)])
    best = np.partition(found, len(found) - k)[len(found) - k :] if len(found) > k else found
    keys[: len(best)] = best
    state[0] = len(best)


def rescore_rows(
    indptr: NDArray[np.int64],
    latents: NDArray[np.int32],
    weights: Weights,
    rows: NDArray[np.int64],
    factors: NDArray[np.int32],
    scores: NDArray[np.int64],
) -> None:
    """See scoring.rescore_rows."""
    for i, row in enumerate(rows):
        entries = slice(indptr[row], indptr[row + 1])
        scores[i] = (factors[latents[entries]].astype(np.int64) * weights[entries]).sum()


def _columns(postings: Postings) -> NDArray[np.int32]:
    return np.repeat(np.arange(postings.n_columns, dtype=np.int32), np.diff(postings.indptr))


def _by_column(columns: NDArray[np.int32], rows: NDArray[np.int32], weights: Weights, n_columns: int) -> Postings:
    order = np.lexsort((rows, columns))
    indptr = np.zeros(n_columns + 1, np.int64)
    np.cumsum(np.bincount(columns, minlength=n_columns), out=indptr[1:])
    return Postings(indptr, rows[order], weights[order])
