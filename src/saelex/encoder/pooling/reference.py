"""The head in plain PyTorch, one sequence at a time: what the other implementations are held against."""

from __future__ import annotations

import torch
from torch import Tensor

from saelex.encoder.head import LinearHead
from saelex.encoder.pooling.packed import PooledLatents, accumulation_dtype


def pool(hidden: Tensor, offsets: Tensor, head: LinearHead) -> PooledLatents:
    """See `saelex.encoder.pooling.pool`. Holds a [tokens of one sequence, latents] tensor, and autograd all of them."""
    hidden = head.transform(hidden)
    hidden = hidden.to(accumulation_dtype(hidden))
    weight = head.weight.to(hidden.dtype)
    rows = [_pool_one(sequence, weight, head) for sequence in hidden.split(offsets.diff().tolist())]
    if not rows:
        none = _pool_one(hidden, weight, head)
        return PooledLatents(none.weights[None][:0], none.tokens[None][:0])
    return PooledLatents(torch.stack([row.weights for row in rows]), torch.stack([row.tokens for row in rows]))


def token_latents(hidden: Tensor, weight: Tensor, head: LinearHead) -> Tensor:
    """Every token's latents before saturation, [tokens, latents].

    hidden: [tokens, d_model], after the head's transform. weight: the head's, in the dtype of hidden.
    """
    pre = hidden @ weight.t() + head.bias  # [tokens, latents]
    if head.scale is not None:
        pre = head.scale * pre
    return torch.relu(head.activation(head.cap(pre)))


def _pool_one(hidden: Tensor, weight: Tensor, head: LinearHead) -> PooledLatents:
    latents = token_latents(hidden, weight, head)
    if len(hidden):
        strongest, tokens = latents.max(dim=0)  # [latents]; of equal ones the first
    else:
        strongest = latents.sum(dim=0)  # zeros
        tokens = torch.zeros_like(strongest, dtype=torch.int64)
    pooled = head.saturate(strongest) if head.pooling == "max" else head.saturate(latents).sum(dim=0)
    weights = head.alpha * pooled
    return PooledLatents(weights, torch.where(strongest > 0, tokens, -1).int())
