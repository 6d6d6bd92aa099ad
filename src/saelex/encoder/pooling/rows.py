"""Pooling for inference: from hidden states to sparse rows, without dense weights where the head allows it."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from saelex.encoder.head import LinearHead
from saelex.encoder.pooling import fused
from saelex.encoder.pooling.operations import ActiveLatents, HeadOperations
from saelex.encoder.pooling.packed import PooledLatents
from saelex.errors import InputError
from saelex.sae.activations import JumpReLU, TopK
from saelex.vectors import SparseRows


def sparse_rows(hidden: Tensor, offsets: Tensor, head: LinearHead, operations: HeadOperations) -> SparseRows:
    """Every sequence's active latents with their weights and tokens; see `saelex.encoder.pooling.pool_rows`."""
    if head.pooling == "sum":
        return rows_of_pooled(fused.pool(hidden, offsets, head, operations), operations)
    hidden = head.transform(hidden).contiguous()
    if isinstance(head.activation, TopK):
        # k latents per token are all there is: no [tokens, latents] product is kept
        active = fused.strongest(*fused.linear_topk(hidden, head, operations), offsets, head, operations)
    else:
        maxima, tokens = fused.linear_max(hidden, offsets, head, operations)
        active = operations.active(maxima, tokens, _floor(head))
    # saturates what is active alone
    return _rows(active._replace(values=head.alpha * head.saturate(head.cap(active.values))), head.n_latents)


def rows_of_pooled(pooled: PooledLatents, operations: HeadOperations) -> SparseRows:
    """The weights above zero, and their tokens."""
    active = operations.active(pooled.weights, pooled.tokens, pooled.weights.new_zeros(1))
    return _rows(active, pooled.weights.shape[1])


def _rows(active: ActiveLatents, n_latents: int) -> SparseRows:
    weights = active.values.float().cpu().numpy()
    if not np.isfinite(weights).all():  # no Top-K of them, and an index would keep them for good
        raise InputError("the backbone's hidden states hold NaN or infinity: load it in float32 or bfloat16")
    indptr, latents, tokens = (array.cpu().numpy() for array in (active.indptr, active.latents, active.tokens))
    return SparseRows(indptr, latents, weights, n_latents, tokens)


def _floor(head: LinearHead) -> Tensor:
    """What a pre-activation must exceed to be active: float32 [latents] or [1]."""
    if isinstance(head.activation, JumpReLU):
        return head.activation.threshold.clamp_min(0)
    return head.bias.new_zeros(1)
