"""The inner loops of searching, compiled by numba; `reference.py` says the same in plain numpy.

The kernels release the GIL and are compiled once, for uint8 and for uint16 weights; the machine code is cached, so
that a new process loads it instead of compiling. They allocate nothing: callers hand in the scratch arrays.

A hit is one int64 key, `score << 32 | (2^32 - 1 - row)`: keys order by score, then by ascending row, so that the
largest keys are the right hits in whatever order the segments come. Scores are int32 sums (`modes.py` has the guard),
global rows stay below 2^32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from saelex.compiling import njit
from saelex.index.kernels.arrays import LAST_ROW, Weights
from saelex.index.kernels.prefetch import prefetch

Function = TypeVar("Function", bound=Callable[..., Any])

CHUNK = np.uint64(128)  # rows whose accumulators are judged together, by one vectorised maximum
AHEAD = 768  # postings between a prefetch and its use
ROWS_AHEAD = 4  # the same for rows to rescore

U8, U16, I32, I64 = types.uint8, types.uint16, types.int32, types.int64


def read(dtype: types.Type) -> types.Array:
    """Type of an array that is only read; writable and read-only (memory-mapped) arrays are both taken as they are."""
    return types.Array(dtype, 1, "C", readonly=True)


def write(dtype: types.Type) -> types.Array:
    return types.Array(dtype, 1, "C")


def compiled(*signatures: types.Type) -> Callable[[Function], Function]:
    decorator: Callable[[Function], Function] = njit(*signatures, error_model="numpy")
    return decorator


inlined: Callable[[Function], Function] = numba.njit(inline="always")


@inlined
def _keep_largest(keys: NDArray[np.int64], k: int) -> np.int64:
    """Moves the k largest of the keys (all different) to the front, in no order; returns the smallest of these k.

    Quickselect: keeping up with a growing bound costs a constant per candidate, where a heap pays log k.
    """
    low, high = 0, len(keys) - 1
    while low < high:
        pivot = keys[(low + high) >> 1]
        left, right = low, high
        while left <= right:
            while keys[left] > pivot:
                left += 1
            while keys[right] < pivot:
                right -= 1
            if left <= right:
                keys[left], keys[right] = keys[right], keys[left]
                left += 1
                right -= 1
        if k - 1 <= right:
            high = right
        elif k - 1 >= left:
            low = left
        else:
            break
    kth: np.int64 = keys[k - 1]
    return kth


@inlined
def _first_from(rows: NDArray[np.int32], entry: int, last: int, row: int) -> int:
    """The first of rows[entry:last] (ascending) that is >= row, found by galloping: near ends are the common case."""
    step = np.int64(16)
    low, high = entry, min(entry + step, last)
    while high < last and rows[high] < row:
        low = high
        step *= 2
        high = min(high + step, last)
    while low < high:
        middle = (low + high) >> 1
        if rows[middle] < row:
            low = middle + 1
        else:
            high = middle
    return low


@inlined
def _add(
    rows: NDArray[np.int32],
    weights: Weights,
    entry: int,
    last: int,
    first_row: int,
    next_row: int,
    factor: np.int32,
    accumulators: NDArray[np.int32],
) -> int:
    """Adds factor * weight of the entries whose row lies below next_row; returns the first entry left."""
    stop = _first_from(rows, entry, last, next_row)
    while entry < stop:
        ahead = entry + AHEAD  # often in the next block of rows: the column goes on there
        prefetch(weights, ahead)
        for line in range(0, 64, 16):
            prefetch(rows, ahead + line)
        end = min(entry + 64, stop)
        for i in range(np.uint64(entry), np.uint64(end)):  # unsigned: no test for negative indices
            accumulators[np.uint64(rows[i] - first_row)] += factor * np.int32(weights[i])
        entry = end
    return stop


@inlined
def _gather(
    accumulators: NDArray[np.int32],
    n_rows: int,
    first_row: int,
    keys: NDArray[np.int64],
    k: int,
    state: NDArray[np.int64],
) -> None:
    """Adds the rows that may be among the best k to the keys, and clears the accumulators."""
    size, bound = state[0], state[1]
    least = np.int32(bound >> 32)
    for start in range(np.uint64(0), np.uint64(n_rows), CHUNK):
        highest = np.int32(0)
        for i in range(CHUNK):
            highest = max(highest, accumulators[start + i])
        if highest >= least:
            for i in range(start, start + CHUNK):
                if accumulators[i] >= least:
                    key = (np.int64(accumulators[i]) << 32) | (LAST_ROW - first_row - np.int64(i))
                    if key > bound:
                        keys[size] = key
                        size += 1
                        if size == len(keys):
                            bound = _keep_largest(keys, k)
                            least = np.int32(bound >> 32)
                            size = k
        for i in range(CHUNK):
            accumulators[start + i] = 0
    state[0], state[1] = size, bound


@compiled(
    *(
        types.void(
            read(I64), read(I32), read(w), read(I64), read(I32), read(w), read(U8), I64, I64,
            read(I32), read(I32), write(I32), write(I64), write(I64), I64, write(I64),
        )
        for w in (U8, U16)
    )
)  # fmt: skip
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
    """Scores a segment term at a time, in blocks of rows whose accumulators stay in the cache; gathers the best keys.

    Columns that `capped` holds are read from there, the others from the postings. live: [n_rows], or empty when all
    rows are. accumulators: [rows per block, a multiple of CHUNK], all zero before and after. cursors: [2 * terms].
    keys: [more than k]; the first state[0] are filled, in no order, the best k among them. state[1]: keys up to this
    one are not wanted, or no longer. state[2] grows by the postings read. Before the first segment state is
    0, NO_SCORE, 0.
    """
    for term in range(len(columns)):
        column = columns[term]
        begin, end = np.int64(0), np.int64(0)
        if column < len(capped_indptr) - 1 and capped_indptr[column + 1] > capped_indptr[column]:
            begin, end = -1 - capped_indptr[column], capped_indptr[column + 1]  # negative: a cursor into `capped`
            state[2] += end + begin + 1
        elif column < len(indptr) - 1:
            begin, end = indptr[column], indptr[column + 1]
            state[2] += end - begin
        cursors[2 * term], cursors[2 * term + 1] = begin, end

    for block in range(0, n_rows, len(accumulators)):
        next_row = min(block + len(accumulators), n_rows)
        moved = False
        for term in range(len(columns)):
            begin, end = cursors[2 * term], cursors[2 * term + 1]
            if begin >= 0:
                entry = _add(rows, weights, begin, end, block, next_row, factors[term], accumulators)
            else:
                entry = -1 - _add(
                    capped_rows, capped_weights, -1 - begin, end, block, next_row, factors[term], accumulators
                )
            moved |= entry != begin
            cursors[2 * term] = entry
        if moved:
            if len(live):
                for i in range(np.uint64(next_row - block)):
                    accumulators[i] = accumulators[i] if live[np.uint64(block) + i] else 0
            _gather(accumulators, next_row - block, first_row + block, keys, k, state)


@compiled(*(types.void(read(I64), read(I32), read(w), read(I64), read(I32), write(I64)) for w in (U8, U16)))
def rescore_rows(
    indptr: NDArray[np.int64],
    latents: NDArray[np.int32],
    weights: Weights,
    rows: NDArray[np.int64],
    factors: NDArray[np.int32],
    scores: NDArray[np.int64],
) -> None:
    """Exact scores of a few rows from their forward rows. factors: [n_columns], the query spread out, 0 elsewhere."""
    for i in range(len(rows) + ROWS_AHEAD):
        if i < len(rows):  # rows lie far apart in memory: ask for the lines of some before they are needed
            begin, end = indptr[rows[i]], indptr[rows[i] + 1]
            for entry in range(begin, end, 16):
                prefetch(latents, entry)
            for entry in range(begin, end, 32):
                prefetch(weights, entry)
        if i >= ROWS_AHEAD:
            row = rows[i - ROWS_AHEAD]
            score = np.int32(0)
            for entry in range(np.uint64(indptr[row]), np.uint64(indptr[row + 1])):
                score += factors[np.uint64(latents[entry])] * np.int32(weights[entry])
            scores[i - ROWS_AHEAD] = score
