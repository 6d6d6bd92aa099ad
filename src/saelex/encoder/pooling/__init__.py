"""From the hidden states of a batch's tokens to one vector of latents per text; one signature for all ways.

`reference` is plain PyTorch and obviously right; `fused` never holds a [tokens, latents] tensor. A kernel for GPUs will
stand beside them: one more module, one more name in `IMPLEMENTATIONS`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from saelex.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from saelex.encoder.head import LinearHead
    from saelex.vectors import SparseRows

IMPLEMENTATIONS = ("reference", "fused")


class PooledLatents(NamedTuple):
    """What pooling gives, both [sequences, latents].

    weights: float32 (float64 for float64 input); after gate, pooling, saturation and alpha; differentiable.
    tokens: int32, the token at which the latent was strongest, counted among the sequence's packed tokens; the first
        one of several equal; -1 where the weight is 0.
    """

    weights: Tensor
    tokens: Tensor


def pool(hidden: Tensor, offsets: Tensor, head: LinearHead, implementation: str | None = None) -> PooledLatents:
    """One vector of latents per sequence: `LinearHead`'s formula, with gradients.

    hidden: [tokens, d_model], the sequences' tokens one after the other, without padding.
    offsets: int64 [sequences + 1]; sequence b owns the tokens offsets[b]:offsets[b + 1], possibly none: then its
        weights are 0.
    implementation: "fused" (default) or "reference".

    Gradients reach hidden, the head's transform, weight, bias, scale and alpha where they ask for one; not a JumpReLU's
    threshold. A tie between tokens gives the first one the whole gradient. Half-precision input is summed in float32.
    Raises InputError when hidden, offsets and head do not fit together.
    """
    name = "fused" if implementation is None else implementation
    if name not in IMPLEMENTATIONS:
        raise InputError(f"pooling has the implementations {', '.join(IMPLEMENTATIONS)}, not {name!r}")
    check_packed(hidden, offsets, head)
    pooled: PooledLatents = import_module(f"saelex.encoder.pooling.{name}").pool(hidden, offsets, head)
    return pooled


def pool_rows(hidden: Tensor, offsets: Tensor, head: LinearHead, top_k: int | None = None) -> SparseRows:
    """`pool` for inference: without gradients, straight to sparse rows with each latent's token as its position.

    top_k: how many of a row's largest weights stay (ties: the lower latent); None keeps all.
    Raises InputError when hidden, offsets and head do not fit together.
    """
    from saelex.encoder.pooling.rows import sparse_rows

    check_packed(hidden, offsets, head)
    return sparse_rows(hidden, offsets, head, top_k)


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
