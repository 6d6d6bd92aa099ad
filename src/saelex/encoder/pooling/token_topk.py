"""The k strongest latents of every token, found block by block: the TopK gate without its [tokens, latents] input."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saelex.encoder.pooling.products import accumulation_dtype, latent_blocks

_SPAN = 128  # entries whose comparison with the k-th best so far is one vectorised sum


def token_topk(hidden: Tensor, weight: Tensor, bias: Tensor, scale: Tensor | None, k: int) -> tuple[Tensor, Tensor]:
    """The k largest pre-activations of each token, largest first, and their latents: [tokens, k] and int64 [tokens, k].

    pre = scale * (hidden . weight + bias). On a CPU equal values are taken in the order of their latents.
    """
    dtype = accumulation_dtype(hidden)
    bias = bias.to(dtype)
    scale = torch.ones_like(bias) if scale is None else scale.to(dtype)
    values = hidden.new_full((len(hidden), k), -torch.inf, dtype=dtype)
    latents = torch.zeros(len(hidden), k, dtype=torch.int64, device=hidden.device)
    for start, stop, block in latent_blocks(hidden, weight):
        here = slice(start, stop)
        if block.device.type == "cpu":
            arrays = (block, bias[here], scale[here], values, latents)
            _keep_largest(*(array.numpy() for array in arrays), start)
        else:
            values, latents = _merge_largest(block.add_(bias[here]).mul_(scale[here]), values, latents, start)
    return values, latents


@numba.njit(nogil=True, cache=True)
def _keep_largest(
    block: NDArray[Any],
    bias: NDArray[Any],
    scale: NDArray[Any],
    values: NDArray[Any],
    latents: NDArray[np.int64],
    start: int,
) -> None:
    """Merges a block [tokens, width] of products into the best so far.

    A random row of n entries updates its best k about k ln(n / k) times, so a sorted list is good enough for them.
    """
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


def _merge_largest(block: Tensor, values: Tensor, latents: Tensor, start: int) -> tuple[Tensor, Tensor]:
    here = torch.arange(start, start + block.shape[1], device=block.device)
    all_values = torch.cat([values, block], dim=1)  # [tokens, k + width]
    all_latents = torch.cat([latents, here.expand(len(block), -1)], dim=1)
    values, places = all_values.topk(values.shape[1], dim=1)
    return values, all_latents.gather(1, places)
