"""Compiled loops over arrays: over the head's products, whatever has computed them, and BERT's activation. No torch.

They use one thread: they take a tenth of the time of the product before them, and a second team of threads would
compete with that of the product, which keeps spinning for a while. Equal values are taken in the order of their latents
(ties: see `saelex.selection`).
"""
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from saelex.compiling import njit
from saelex.encoder.erf import DENOMINATOR, END, NUMERATOR, ROOT

_TILE = 512  # latents; maxima and tokens of a tile stay in the first-level cache
_SPAN = 128  # entries whose comparison with the k-th best so far is one vectorised sum
_P0, _P1, _P2, _P3, _P4, _P5, _P6 = NUMERATOR
_Q0, _Q1, _Q2, _Q3, _Q4 = DENOMINATOR
_HALF, _ONE = np.float32(0.5), np.float32(1)


@njit()
def segment_max(
    block: NDArray[Any], offsets: NDArray[np.int64], maxima: NDArray[Any], tokens: NDArray[np.int32], start: int
) -> None:
    width = block.shape[1]
    for sequence in range(len(offsets) - 1):
        first = offsets[sequence]
        for left in range(0, width, _TILE):
            right = min(left + _TILE, width)
            best = maxima[sequence, start + left : start + right]
            where = tokens[sequence, start + left : start + right]
            best[:] = -np.inf
            where[:] = -1
            for token in range(first, offsets[sequence + 1]):
                values = block[token, left:right]
                here = np.int32(token - first)
                for j in range(right - left):  # branchless, so that LLVM vectorises it
                    larger = (values[j] > best[j]) | (values[j] != values[j])
                    best[j] = values[j] if larger else best[j]
                    where[j] = here if larger else where[j]


@njit()
def segment_sum(block: NDArray[Any], offsets: NDArray[np.int64], total: NDArray[Any], start: int) -> None:
    width = block.shape[1]
    for sequence in range(len(offsets) - 1):
        sums = total[sequence, start : start + width]
        sums[:] = 0
        for token in range(offsets[sequence], offsets[sequence + 1]):
            values = block[token]
            for j in range(width):
                sums[j] += values[j]


@njit()
def keep_largest(
    block: NDArray[Any],
    bias: NDArray[Any],
    scale: NDArray[Any],
    values: NDArray[Any],
    latents: NDArray[np.int64],
    start: int,
) -> None:
    """A random row of n entries updates its best k about k ln(n / k) times, so a sorted list is good enough."""
    width = block.shape[1]
    k = values.shape[1]
    for token in range(len(block)):
        row = block[token]
        best = values[token]
        names = latents[token]
        for left in range(0, width, _SPAN):
            right = min(left + _SPAN, width)
            worst = best[k - 1]
            larger = 0
            for j in range(left, right):  # an integer sum, so that LLVM vectorises it
                # "not <=" instead of ">", so that NaN gets in
                larger += not ((row[j] + bias[j]) * scale[j] <= worst)
            if not larger:
                continue
            for j in range(left, right):
                pre = (row[j] + bias[j]) * scale[j]
                if pre <= best[k - 1]:
                    continue
                place = k - 1
                while place > 0 and best[place - 1] < pre:  # an equal value of a lower latent stays ahead
                    best[place] = best[place - 1]
                    names[place] = names[place - 1]
                    place -= 1
                best[place] = pre
                names[place] = start + j


@njit()
def strongest(
    values: NDArray[Any], latents: NDArray[np.int64], offsets: NDArray[np.int64], n_latents: int
) -> NDArray[np.int64]:
    k = values.shape[1]
    best = np.empty(n_latents, values.dtype)
    where = np.full(n_latents, -1, np.int64)  # the place that a latent's maximum comes from
    seen = np.empty(n_latents, np.int64)
    places = np.empty(np.count_nonzero(~(values <= 0)), np.int64)
    n_places = 0
    for sequence in range(len(offsets) - 1):
        count = 0
        for token in range(offsets[sequence], offsets[sequence + 1]):
            for i in range(k):
                value, latent = values[token, i], latents[token, i]
                if value <= 0:  # NaN is kept
                    continue
                if where[latent] < 0:
                    seen[count] = latent
                    count += 1
                elif not (value > best[latent] or np.isnan(value)):  # the first token wins a tie
                    continue
                best[latent] = value
                where[latent] = token * k + i
        for latent in np.sort(seen[:count]):
            places[n_places] = where[latent]
            n_places += 1
            where[latent] = -1
    return places[:n_places].copy()


@njit()
def active(
    values: NDArray[Any], tokens: NDArray[np.int32], floor: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[Any], NDArray[np.int32]]:
    n_rows, n_latents = values.shape
    indptr = np.zeros(n_rows + 1, np.int64)
    for row in range(n_rows):
        count = 0
        for j in range(n_latents):  # "not <=" instead of ">": NaN is reported, not dropped
            count += not (values[row, j] <= floor[j])
        indptr[row + 1] = indptr[row] + count
    latents = np.empty(indptr[-1], np.int32)
    kept = np.empty(indptr[-1], values.dtype)
    positions = np.empty(indptr[-1], np.int32)
    entry = 0
    for row in range(n_rows):
        for j in range(n_latents):
            if not (values[row, j] <= floor[j]):
                latents[entry] = j
                kept[entry] = values[row, j]
                positions[entry] = tokens[row, j]
                entry += 1
    return indptr, latents, kept, positions


@njit(fastmath={"contract"})
def add_scaled_rows(
    total: NDArray[Any], into: NDArray[np.int64], source: NDArray[Any], rows: NDArray[np.int64], values: NDArray[Any]
) -> None:
    for i in range(len(into)):
        target = total[into[i]]
        row = source[rows[i]]
        value = values[i]
        for j in range(len(row)):
            target[j] += value * row[j]


@njit(fastmath={"contract"})
def gelu(values: NDArray[np.float32]) -> None:
    """x (1 + erf(x / √2)) / 2 in place, of one dimension: within 3e-7 |x| of the exact one."""
    for i in range(len(values)):  # without a branch, so that LLVM vectorises it
        value = values[i]
        x = min(max(value * ROOT, -END), END)
        s = x * x
        p = ((((((_P0 * s + _P1) * s + _P2) * s + _P3) * s + _P4) * s + _P5) * s + _P6) * x
        q = (((_Q0 * s + _Q1) * s + _Q2) * s + _Q3) * s + _Q4
        values[i] = _HALF * value * (_ONE + p / q)
