"""The head's operations on CPUs: oneDNN's products, and numba for what PyTorch does slowly.

The kernels use one thread: they take a tenth of the time of the product before them, and a second team of threads would
compete with PyTorch's, which keeps spinning for a while after a product.
"""
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saelex.compiling import njit
from saelex.encoder.onednn import linear
from saelex.encoder.pooling.operations import ActiveLatents, HeadOperations

_TILE = 512  # latents; maxima and tokens of a tile stay in the first-level cache
_SPAN = 128  # entries whose comparison with the k-th best so far is one vectorised sum
_NUMPY_DTYPES = {torch.float32: np.float32, torch.float64: np.float64}


class CpuOperations(HeadOperations):
    """Equal values are taken in the order of their latents (ties: see `saelex.selection`)."""

    block_entries = 2**20  # 4 MiB of float32, a share of the last-level cache

    def product(self, hidden: Tensor, rows: Tensor) -> Tensor:
        return linear(hidden, rows)

    def segment_max(self, block: Tensor, offsets: Tensor, maxima: Tensor, tokens: Tensor, start: int) -> None:
        _segment_max(block.numpy(), offsets.numpy(), maxima.numpy(), tokens.numpy(), start)

    def segment_sum(self, block: Tensor, offsets: Tensor, total: Tensor, start: int) -> None:
        _segment_sum(block.numpy(), offsets.numpy(), total.numpy(), start)

    def keep_largest(
        self, block: Tensor, bias: Tensor, scale: Tensor, values: Tensor, latents: Tensor, start: int
    ) -> None:
        _keep_largest(block.numpy(), bias.numpy(), scale.numpy(), values.numpy(), latents.numpy(), start)

    def strongest(self, values: Tensor, latents: Tensor, offsets: Tensor, n_latents: int) -> Tensor:
        return torch.from_numpy(_strongest(values.numpy(), latents.numpy(), offsets.numpy(), n_latents))

    def active(self, values: Tensor, tokens: Tensor, floor: Tensor) -> ActiveLatents:
        whole = floor.to(values.dtype).expand(values.shape[1]).contiguous()
        return ActiveLatents(*map(torch.from_numpy, _active(values.numpy(), tokens.numpy(), whole.numpy())))

    def add_rows(self, total: Tensor, into: Tensor, source: Tensor, rows: Tensor, values: Tensor) -> None:
        if source.dtype not in _NUMPY_DTYPES:
            super().add_rows(total, into, source, rows, values)
            return
        arrays = (total, into, source.contiguous(), rows, values)
        _add_scaled_rows(*(array.detach().numpy() for array in arrays))

    def zeros_like(self, matrix: Tensor) -> Tensor:
        """By calloc, which leaves the zeroing to the system, page by page at the first write."""
        if matrix.dtype not in _NUMPY_DTYPES:
            return super().zeros_like(matrix)
        return torch.from_numpy(np.zeros(matrix.shape, _NUMPY_DTYPES[matrix.dtype]))


@njit()
def _segment_max(
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
def _segment_sum(block: NDArray[Any], offsets: NDArray[np.int64], total: NDArray[Any], start: int) -> None:
    width = block.shape[1]
    for sequence in range(len(offsets) - 1):
        sums = total[sequence, start : start + width]
        sums[:] = 0
        for token in range(offsets[sequence], offsets[sequence + 1]):
            values = block[token]
            for j in range(width):
                sums[j] += values[j]


@njit()
def _keep_largest(
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
def _strongest(
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
def _active(
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
def _add_scaled_rows(
    total: NDArray[Any], into: NDArray[np.int64], source: NDArray[Any], rows: NDArray[np.int64], values: NDArray[Any]
) -> None:
    for i in range(len(into)):
        target = total[into[i]]
        row = source[rows[i]]
        value = values[i]
        for j in range(len(row)):
            target[j] += value * row[j]
