"""From the hidden states of a batch's tokens to one vector of latents per text; one signature for all ways.

`reference` is plain PyTorch and obviously right; `fused` never holds a [tokens, latents] tensor, on the operations of
the device where the tensors are (`devices`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from saelex.encoder.head import LinearHead
from saelex.encoder.pooling import fused, reference, rows
from saelex.encoder.pooling.devices import OPERATIONS, operations_named, operations_of
from saelex.encoder.pooling.operations import HeadOperations
from saelex.encoder.pooling.packed import PooledLatents, check_packed
from saelex.errors import InputError
from saelex.top_k import TopKSetting
from saelex.vectors import SparseRows

__all__ = ["IMPLEMENTATIONS", "PooledLatents", "pool", "pool_rows"]

IMPLEMENTATIONS = ("reference", "fused", *OPERATIONS)


def pool(hidden: Tensor, offsets: Tensor, head: LinearHead, implementation: str = "fused") -> PooledLatents:
    """One vector of latents per sequence: `LinearHead`'s formula, with gradients.

    hidden: [tokens, d_model], the sequences' tokens one after the other, without padding.
    offsets: int64 [sequences + 1]; sequence b owns the tokens offsets[b]:offsets[b + 1], possibly none: then its
        weights are 0.
    implementation: "reference"; "fused", on the device's own operations; or fused on those of this name: "torch", which
        every device has, a device's, or "triton".

    Gradients reach hidden, the head's transform, weight, bias, scale and alpha where they ask for one; not a JumpReLU's
    threshold. A tie between tokens gives the first one the whole gradient. Half-precision input is summed in float32.
    Raises InputError when hidden, offsets and head do not fit together, or the implementation is none for them.
    """
    operations = _operations(implementation, hidden, offsets, head)
    if operations is None:
        return reference.pool(hidden, offsets, head)
    return fused.pool(hidden, offsets, head, operations)


@torch.no_grad()
def pool_rows(
    hidden: Tensor, offsets: Tensor, head: LinearHead, top_k: TopKSetting = None, implementation: str = "fused"
) -> SparseRows:
    """`pool` for inference: without gradients, straight to sparse rows with each latent's token as its position.

    top_k: how many of a row's largest weights stay: see `SparseRows.top_k`.
    Raises InputError as `pool` does, and for weights that are not finite.
    """
    operations = _operations(implementation, hidden, offsets, head)
    if operations is None:
        every = rows.rows_of_pooled(reference.pool(hidden, offsets, head), HeadOperations())
    else:
        every = rows.sparse_rows(hidden, offsets, head, operations)
    return every.top_k(top_k)


def _operations(implementation: str, hidden: Tensor, offsets: Tensor, head: LinearHead) -> HeadOperations | None:
    """The operations that an implementation works with, for checked inputs; None: the reference, which needs none."""
    if implementation not in IMPLEMENTATIONS:
        raise InputError(f"pooling has the implementations {', '.join(IMPLEMENTATIONS)}, not {implementation!r}")
    check_packed(hidden, offsets, head)
    if implementation == "reference":
        return None
    return operations_of(hidden, head) if implementation == "fused" else operations_named(implementation, hidden, head)
