"""The loops of `saelex.selection`, compiled.

Rows are not sorted. A row is read twice, with vector instructions: once for the maxima of k interleaved lanes, the
smallest of which bounds the k-th largest entry from below, and once to collect the few entries that reach this bound;
only those are sorted. On rows of 16,384 pre-activations that takes a fraction of `torch.topk`'s time on a CPU.
"""
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from saelex.compiling import njit

_BLOCK = 64  # entries compared at once; at least one vector register
_LANES = 256
_SPARE = 8  # candidates collected per wanted entry before they are thinned out


@njit()
def select_rows(values: NDArray[np.float32], best: NDArray[np.float32], columns: NDArray[np.int32]) -> None:
    """Top-k of each row of values [rows, width] into best and columns [rows, k], largest first, ties by column."""
    for row in range(values.shape[0]):
        _select_row(values[row], best[row], columns[row])


@njit(parallel=True)
def select_rows_in_parallel(values: NDArray[np.float32], best: NDArray[np.float32], columns: NDArray[np.int32]) -> None:
    for row in numba.prange(values.shape[0]):
        _select_row(values[row], best[row], columns[row])


@njit()
def top_k_entries(indptr: NDArray[np.int64], weights: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    entries = np.empty(np.minimum(np.diff(indptr), k).sum(), np.int64)
    best, columns = np.empty(k, np.float32), np.empty(k, np.int32)
    count = 0
    for row in range(len(indptr) - 1):
        start, stop = indptr[row], indptr[row + 1]
        if stop - start <= k:
            kept = np.arange(start, stop)
        else:
            _select_row(weights[start:stop], best, columns)
            kept = start + np.sort(columns)
        entries[count : count + len(kept)] = kept
        count += len(kept)
    return entries


@njit()
def top_share_entries(
    indptr: NDArray[np.int64], weights: NDArray[np.float32], least: int, share: float
) -> NDArray[np.bool_]:
    kept = np.zeros(len(weights), np.bool_)
    for row in range(len(indptr) - 1):
        start, stop = indptr[row], indptr[row + 1]
        if stop - start <= least:
            kept[start:stop] = True
            continue
        keys = np.empty(stop - start, np.uint64)
        for j in range(len(keys)):
            weight = weights[start + j]
            keys[j] = _key(np.float32(-np.inf) if np.isnan(weight) else weight, j)
        keys = np.sort(keys)[::-1]  # largest first
        total = 0.0
        for key in keys:
            total += _mass(weights[start + _column(key)])
        carried = 0.0
        for i in range(len(keys)):
            if i >= least and carried >= share * total:
                break
            entry = start + _column(keys[i])
            kept[entry] = True
            carried += _mass(weights[entry])
    return kept


@njit(inline="always")
def _mass(weight: np.float32) -> float:
    return np.float64(weight) if weight > 0 else 0.0


@njit()
def _select_row(values: NDArray[np.float32], best: NDArray[np.float32], columns: NDArray[np.int32]) -> None:
    """The len(best) largest of values, largest first, and their columns; numbers first, then NaN."""
    k = len(best)
    keys = np.empty(_SPARE * k + _BLOCK, np.uint64)
    found = 0
    bound = _lower_bound(values, k)
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        reaching = 0
        for j in range(len(block)):  # an integer sum, so that LLVM vectorises it
            reaching += block[j] >= bound
        if reaching == 0:
            continue
        if found + len(block) > len(keys):
            keys[:k] = np.sort(keys[:found])[-k:]
            found = k
            # of equal values those further left are in already
            bound = np.nextafter(values[_column(keys[0])], np.float32(np.inf))
        for j in range(len(block)):
            if block[j] >= bound:
                keys[found] = _key(block[j], start + j)
                found += 1
    ordered = np.sort(keys[:found])
    for i in range(min(k, found)):
        columns[i] = _column(ordered[found - 1 - i])
        best[i] = values[columns[i]]
    column = 0
    for i in range(found, k):
        while not np.isnan(values[column]):
            column += 1
        columns[i] = column
        best[i] = np.nan
        column += 1


@njit()
def _lower_bound(values: NDArray[np.float32], k: int) -> np.float32:
    """A value that at least k entries reach: the smallest of the maxima of k lanes (column modulo k)."""
    lanes = min(k * (1 + _LANES // k), len(values) // k * k)  # a multiple of k, long enough for vector instructions
    maxima = values[:lanes].copy()
    for start in range(lanes, len(values), lanes):
        block = values[start : start + lanes]
        for j in range(len(block)):  # lane by lane, so that it vectorises without reordering a reduction
            maxima[j] = block[j] if block[j] > maxima[j] else maxima[j]
    for start in range(k, lanes, k):
        for j in range(k):
            maxima[j] = max(maxima[j], maxima[start + j])
    bound = np.float32(np.inf)
    for j in range(k):
        if not maxima[j] >= bound:
            bound = maxima[j] if maxima[j] < bound else np.float32(-np.inf)  # a NaN lane says nothing
    return bound


@njit(inline="always")
def _key(value: np.float32, column: int) -> np.uint64:
    """An integer that orders entries by value, then lower columns first: monotone bits of the float, then column."""
    bits = np.int64(np.float32(value + np.float32(0)).view(np.int32))  # + 0 turns -0 into 0
    ordered = bits + 2**31 if bits >= 0 else -bits - 1
    return (np.uint64(ordered) << np.uint64(32)) | np.uint64(0xFFFFFFFF - column)


@njit(inline="always")
def _column(key: np.uint64) -> int:
    return np.int64(0xFFFFFFFF) - np.int64(key & np.uint64(0xFFFFFFFF))
