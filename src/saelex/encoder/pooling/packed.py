"""What all ways of pooling share: the packed batch that goes in, the pooled latents that come out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from saelex.encoder.head import LinearHead
from saelex.errors import InputError


class PooledLatents(NamedTuple):
    """What pooling gives, both [sequences, latents].

    weights: float32 (float64 for float64 input); after gate, pooling, saturation and alpha; differentiable.
    tokens: int32, the token at which the latent was strongest, counted among the sequence's packed tokens (ties: see
        `saelex.selection`); -1 where the weight is 0.
    """

    weights: Tensor
    tokens: Tensor


def check_packed(hidden: Tensor, offsets: Tensor, head: LinearHead) -> None:
    """Raises InputError unless hidden and offsets are a packed batch for this head."""
    if hidden.ndim != 2 or hidden.shape[1] != head.d_model or not hidden.is_floating_point():
        found = f"{hidden.dtype} {list(hidden.shape)}"
        raise InputError(f"the head reads packed tokens [tokens, {head.d_model}], not {found}")
    if offsets.ndim != 1 or len(offsets) == 0 or offsets.is_floating_point():
        raise InputError("offsets are whole numbers, one more than there are sequences")
    starts = offsets.tolist()
    if starts[0] != 0 or starts[-1] != len(hidden) or starts != sorted(starts):
        raise InputError(f"offsets must rise from 0 to the number of tokens, {len(hidden)}")


def sequence_of_token(offsets: Tensor) -> Tensor:
    """int64 [tokens]: the sequence that each packed token belongs to."""
    sequences = torch.arange(len(offsets) - 1, device=offsets.device)
    return sequences.repeat_interleave(offsets.diff())


def accumulation_dtype(hidden: Tensor) -> torch.dtype:
    """The dtype of the head's sums: float64 for float64 input, else float32."""
    return torch.promote_types(hidden.dtype, torch.float32)
