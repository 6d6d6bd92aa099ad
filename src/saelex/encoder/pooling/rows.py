"""Pooling for inference: from hidden states to sparse rows, without gradients and without dense weights."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saelex.encoder.head import LinearHead
from saelex.encoder.pooling import fused
from saelex.encoder.pooling.token_topk import token_topk
from saelex.errors import InputError
from saelex.sae.activations import JumpReLU, TopK
from saelex.vectors import SparseRows


@torch.no_grad()
def sparse_rows(hidden: Tensor, offsets: Tensor, head: LinearHead, top_k: int | None) -> SparseRows:
    """See `saelex.encoder.pooling.pool_rows`."""
    if top_k is not None and top_k < 1:
        raise InputError(f"top-k keeps at least one latent, not {top_k}; give None to keep all")
    if head.pooling == "max" and not isinstance(head.activation, TopK):
        # gate and saturate what is active alone
        strongest, tokens = fused.linear_max(head.transform(hidden).contiguous(), offsets, head)
        indptr, latents, active, positions = _active(strongest, tokens, _floor(head))
        values = head.alpha * head.saturate(head.cap(active))
    elif head.pooling == "max" and isinstance(head.activation, TopK) and hidden.device.type == "cpu":
        # k latents per token are all there is: nothing as wide as the head is ever made
        states = head.transform(hidden).contiguous()
        pre, names = token_topk(states, head.weight, head.bias, head.scale, head.activation.k)
        indptr, latents, kept, positions = _strongest(pre.numpy(), names.numpy(), offsets.numpy(), head.n_latents)
        values = head.alpha * head.saturate(torch.from_numpy(kept))
    else:
        pooled = fused.pool(hidden, offsets, head)
        indptr, latents, values, positions = _active(pooled.weights, pooled.tokens, pooled.weights.new_zeros(1))
    weights = values.float().cpu().numpy()
    if not np.isfinite(weights).all():  # no Top-K of them, and an index would keep them for good
        raise InputError("the backbone's hidden states hold NaN or infinity: load it in float32 or bfloat16")
    return SparseRows(indptr, latents, weights, head.n_latents, positions).top_k(top_k)


def _floor(head: LinearHead) -> Tensor:
    """What a pre-activation must exceed to be active: float32 [latents] or [1]."""
    if isinstance(head.activation, JumpReLU):
        return head.activation.threshold.clamp_min(0)
    return head.bias.new_zeros(1)


def _active(
    values: Tensor, tokens: Tensor, floor: Tensor
) -> tuple[NDArray[np.int64], NDArray[np.int32], Tensor, NDArray[np.int32]]:
    """(indptr, latents, values, positions) of the entries [sequences, latents] above the floor [latents] or [1]."""
    if values.device.type != "cpu":
        above = ~(values <= floor)
        sequence, latent = above.nonzero(as_tuple=True)
        indptr = np.concatenate([[0], above.sum(1).cumsum(0).cpu().numpy()])
        positions = tokens[sequence, latent].cpu().numpy()
        return indptr, latent.int().cpu().numpy(), values[sequence, latent], positions
    whole = floor.to(values.dtype).expand(values.shape[1]).contiguous()
    indptr, latents, kept, positions = _collect(values.numpy(), tokens.numpy(), whole.numpy())
    return indptr, latents, torch.from_numpy(kept), positions


@numba.njit(nogil=True, cache=True)
def _collect(
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


@numba.njit(nogil=True, cache=True)
def _strongest(
    values: NDArray[Any], latents: NDArray[np.int64], offsets: NDArray[np.int64], n_latents: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[Any], NDArray[np.int32]]:
    """(indptr, latents, values, positions) of the maxima over each sequence of its tokens' latents [tokens, k]."""
    best = np.empty(n_latents, values.dtype)
    where = np.full(n_latents, -1, np.int32)  # the token that a latent's maximum comes from
    seen = np.empty(n_latents, np.int32)
    most = np.count_nonzero(~(values <= 0))  # "not <=" instead of ">": NaN is reported, not dropped
    indptr = np.zeros(len(offsets), np.int64)
    out = np.empty(most, np.int32)
    kept = np.empty(most, values.dtype)
    positions = np.empty(most, np.int32)
    entry = 0
    for sequence in range(len(offsets) - 1):
        count = 0
        for token in range(offsets[sequence], offsets[sequence + 1]):
            for i in range(values.shape[1]):
                value, latent = values[token, i], latents[token, i]
                if value <= 0:
                    continue
                if where[latent] < 0:
                    seen[count] = latent
                    count += 1
                elif not (value > best[latent] or np.isnan(value)):  # the first token wins a tie
                    continue
                best[latent] = value
                where[latent] = token - offsets[sequence]
        for latent in np.sort(seen[:count]):
            out[entry], kept[entry], positions[entry] = latent, best[latent], where[latent]
            where[latent] = -1
            entry += 1
        indptr[sequence + 1] = entry
    return indptr, out[:entry].copy(), kept[:entry].copy(), positions[:entry].copy()
