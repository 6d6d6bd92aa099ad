"""Reductions of a block [tokens, width] over each sequence's tokens: the maximum with its first token, and the sum."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_TILE = 512  # latents; maxima and tokens of a tile stay in the first-level cache

# The kernels use one thread: they take a tenth of the time of the product before them, and a second team of threads
# would compete with PyTorch's, which keeps spinning for a while after a product.


def sequence_of_token(offsets: Tensor) -> Tensor:
    """int64 [tokens]: the sequence that each packed token belongs to."""
    sequences = torch.arange(len(offsets) - 1, device=offsets.device)
    return sequences.repeat_interleave(offsets.diff())


def segment_max(block: Tensor, offsets: Tensor, maxima: Tensor, tokens: Tensor, start: int) -> None:
    """Writes the maxima of block [tokens, width] over each sequence into columns start:start + width of the outputs.

    offsets: int64 [sequences + 1]; maxima: [sequences, latents] in block's dtype; tokens: int32 [sequences, latents],
    counted from the sequence's first token. A sequence without tokens gets -inf and -1. NaN wins over every number, so
    that a broken hidden state shows in the result instead of vanishing.
    """
    if block.device.type == "cpu":
        _segment_max(block.numpy(), offsets.numpy(), maxima.numpy(), tokens.numpy(), start)
    else:
        segment_max_torch(block, offsets, maxima, tokens, start)


@numba.njit(nogil=True, cache=True)
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


def segment_max_torch(block: Tensor, offsets: Tensor, maxima: Tensor, tokens: Tensor, start: int) -> None:
    """`segment_max` in PyTorch alone, for devices that numba does not reach."""
    sequence = sequence_of_token(offsets)
    width = block.shape[1]
    cells = sequence[:, None].expand_as(block)  # [tokens, width]
    best = block.new_full((len(maxima), width), -torch.inf).scatter_reduce_(0, cells, block, "amax")
    here = torch.arange(len(block), device=block.device) - offsets[sequence]  # [tokens]
    none = torch.iinfo(torch.int32).max
    candidates = torch.where(block < best[sequence], none, here.int()[:, None])  # [tokens, width]
    where = torch.full_like(best, none, dtype=torch.int32).scatter_reduce_(0, cells, candidates, "amin")
    maxima[:, start : start + width] = best
    tokens[:, start : start + width] = torch.where(where == none, -1, where)


def segment_sum(block: Tensor, offsets: Tensor, total: Tensor, start: int) -> None:
    """Writes the sums of block [tokens, width] over each sequence into columns start:start + width of total."""
    if block.device.type == "cpu":
        _segment_sum(block.numpy(), offsets.numpy(), total.numpy(), start)
    else:
        columns = slice(start, start + block.shape[1])
        total[:, columns] = block.new_zeros(len(total), block.shape[1]).index_add_(0, sequence_of_token(offsets), block)


@numba.njit(nogil=True, cache=True)
def _segment_sum(block: NDArray[Any], offsets: NDArray[np.int64], total: NDArray[Any], start: int) -> None:
    width = block.shape[1]
    for sequence in range(len(offsets) - 1):
        sums = total[sequence, start : start + width]
        sums[:] = 0
        for token in range(offsets[sequence], offsets[sequence + 1]):
            values = block[token]
            for j in range(width):
                sums[j] += values[j]
