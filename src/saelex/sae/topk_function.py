"""The TopK autoencoders' forward and backward by hand: one dense product forward, none backward.

Plain autograd would keep the [tokens, n_latents] pre-activations and multiply by their almost empty gradient twice.
Here the pre-activations live for one chunk of tokens, and the backward touches the k active latents of each token.
"""
# mypy: disable-error-code="no-any-return,no-untyped-call"

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from saelex.sae.products import Spares, products_of, sum_values
from saelex.selection import top_k_rows

_CHUNK = 1 << 22  # pre-activations held at once: 16 MB, about a core complex's cache
_MARGIN = 16  # latents beyond k that a bfloat16 product proposes


class Codes(NamedTuple):
    """Active latents of a batch of tokens, and of its dead latents where those were asked for.

    The active ones of a token come largest first; zeros fill up a row in which fewer are active.
    """

    values: Tensor  # float32 [tokens, k] (over_batch: as many as the fullest token needs): after ReLU
    latents: Tensor  # int32, of the same shape
    dead_values: Tensor  # float32 [tokens, aux_k]
    dead_latents: Tensor  # int32 [tokens, aux_k]


def encode_topk(
    states: Tensor,
    pre_bias: Tensor,
    W_enc: Tensor,
    b_enc: Tensor,
    k: int,
    *,
    over_batch: bool = False,
    dead: Tensor | None = None,
    aux_k: int = 0,
    bfloat16: bool = False,
    spares: Spares | None = None,
) -> Codes:
    """relu(TopK((states - pre_bias) W_enc + b_enc)), as values and latents (SAE-SPLADE stage 1; Gao et al., eq. 4).

    states: float32 [tokens, d_model]; pre_bias: [d_model]; W_enc: [d_model, n_latents], fastest when its transpose is
        contiguous; b_enc: [n_latents].
    over_batch: keep the k * tokens largest positive pre-activations of the whole batch instead (BatchTopK, Bussmann et
        al. 2024); of those equal to the smallest one, all.
    dead: int64 ids of dead latents; the aux_k largest of theirs come as well (all of them where they are fewer).
    bfloat16: the dense product only proposes latents, in bfloat16; the k kept are chosen among k + 16 proposals by, and
        have, their float32 pre-activations. Several times faster where the processor multiplies bfloat16 itself.
    spares: memory for the gradient of W_enc.
    """
    return Codes(*_EncodeTopK.apply(states, pre_bias, W_enc, b_enc, k, over_batch, dead, aux_k, bfloat16, spares))


def fast_bfloat16(device: str) -> bool:
    """Whether a device multiplies bfloat16 matrices itself; emulated, they are slower than float32."""
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return not device.startswith("cpu") or bool(supported())


def hierarchical_error(target: Tensor, values: Tensor, latents: Tensor, W_dec: Tensor) -> tuple[Tensor, Tensor]:
    """Squared error averaged over tokens and over the prefixes 1..k of each token's latents, largest first.

    target: states - b_dec [tokens, d_model]. Returns the error, and what all k leave of the target (without gradient).
    Hierarchical TopK (Balagansky et al. 2025; SAE-SPLADE's HTopK): one SAE for every k up to the trained one.
    """
    return _HierarchicalError.apply(target, values, latents, W_dec)


def decode_topk(values: Tensor, latents: Tensor, W_dec: Tensor, spares: Spares | None = None) -> Tensor:
    """The sum of the active latents' decoder rows [n_latents, d_model] per token, without b_dec: [tokens, d_model].

    Codes are after ReLU: a value of 0 gets the gradient 0. spares: memory for the gradient of W_dec.
    """
    return _DecodeTopK.apply(values, latents, W_dec, spares)


class _EncodeTopK(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        pre_bias: Tensor,
        W_enc: Tensor,
        b_enc: Tensor,
        k: int,
        over_batch: bool,
        dead: Tensor | None,
        aux_k: int,
        bfloat16: bool,
        spares: Spares | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.spares = spares
        centred = states - pre_bias  # [tokens, d_model]
        rows = W_enc.T.contiguous()  # [n_latents, d_model]
        aux_k = 0 if dead is None else min(aux_k, len(dead))
        proposed = rows.bfloat16() if bfloat16 else rows
        first = min(2 * k, len(rows)) if over_batch else k
        values, latents, dead_values, dead_latents = _largest(
            centred, rows, b_enc, proposed, first, dead if aux_k else None, aux_k
        )
        if over_batch:

            def more(tokens: Tensor, count: int) -> tuple[Tensor, Tensor]:
                found = _largest(centred[tokens], rows, b_enc, proposed, count, None, 0)
                return found[0], found[1]

            values, latents = largest_of_matrix(values, latents, k * len(states), len(rows), more)
        ctx.mark_non_differentiable(latents, dead_latents)
        ctx.save_for_backward(centred, rows, values, latents, dead_values, dead_latents)
        return values, latents, dead_values, dead_latents

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor, dead_grad: Tensor, __: Tensor) -> tuple[Tensor | None, ...]:
        centred, rows, values, latents, dead_values, dead_latents = ctx.saved_tensors
        if dead_latents.shape[1]:
            values = torch.cat([values, dead_values], dim=1)
            latents = torch.cat([latents, dead_latents], dim=1)
            grad = torch.cat([grad, dead_grad], dim=1)
        grad = grad * (values > 0)  # [tokens, k + aux_k]: through the ReLU
        products = products_of(rows.device)
        grad_b_enc = sum_values(grad, latents, len(rows))
        grad_states = products.mix_rows(grad, latents, rows) if ctx.needs_input_grad[0] else None
        grad_W_enc = None
        if ctx.needs_input_grad[2]:
            grad_W_enc = products.gather_rows(grad, latents, centred, len(rows), ctx.spares).T
        # every token's gradient enters pre_bias with a minus, so the sum over latents does instead of that over tokens
        return grad_states, -(grad_b_enc @ rows), grad_W_enc, grad_b_enc, None, None, None, None, None, None


class _DecodeTopK(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, latents: Tensor, W_dec: Tensor, spares: Spares | None) -> Tensor:
        ctx.spares = spares
        ctx.save_for_backward(values, latents, W_dec)
        return products_of(W_dec.device).mix_rows(values, latents, W_dec)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor | None, None]:
        values, latents, W_dec = ctx.saved_tensors
        grad, products = grad.contiguous(), products_of(W_dec.device)
        grad_W_dec = None
        if ctx.needs_input_grad[2]:
            grad_W_dec = products.gather_rows(values, latents, grad, len(W_dec), ctx.spares)
        return products.dot_active_rows(values, grad, latents, W_dec), None, grad_W_dec, None


class _HierarchicalError(torch.autograd.Function):
    """The error is a scalar, so its gradients are computed with it and only scaled in the backward."""

    @staticmethod
    def forward(ctx: Any, target: Tensor, values: Tensor, latents: Tensor, W_dec: Tensor) -> tuple[Tensor, Tensor]:
        found = products_of(W_dec.device).prefix_errors(target, values, latents, W_dec)
        ctx.save_for_backward(found.grad_target, found.grad_values * (values > 0), found.grad_matrix)
        ctx.mark_non_differentiable(found.rest)
        return found.error, found.rest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, Tensor]:
        target, values, W_dec = ctx.saved_tensors
        return target * grad, values * grad, None, W_dec * grad


def _largest(
    states: Tensor,
    rows: Tensor,
    b_enc: Tensor,
    proposed: Tensor,
    k: int,
    dead: Tensor | None,
    aux_k: int,
) -> tuple[Tensor, ...]:
    """Codes of centred states, a chunk at a time; proposed: rows, or the same in bfloat16."""
    parts = []
    for some in states.split(max(1, _CHUNK // len(rows))):
        pre = (some.to(proposed.dtype) @ proposed.T).float().add_(b_enc)  # [chunk, n_latents]
        parts.append(_select(some, rows, b_enc, pre, k, dead, aux_k, rescore=proposed is not rows))
    return tuple(torch.cat(part) for part in zip(*parts))


def _select(
    states: Tensor,
    rows: Tensor,
    b_enc: Tensor,
    pre: Tensor,
    k: int,
    dead: Tensor | None,
    aux_k: int,
    rescore: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Codes of one chunk from its pre-activations [chunk, n_latents]; rescore: those are approximate."""
    if rescore:
        _, proposals = top_k_rows(pre, min(k + _MARGIN, len(rows)), parallel=True)
        proposals = proposals.sort(dim=1).values  # so that ties go to the lower latent
        best, places = top_k_rows(_exact(states, rows, b_enc, proposals), k, parallel=True)
        latents = proposals.gather(1, places.long())
    else:
        best, latents = top_k_rows(pre, k, parallel=True)
    if dead is None:
        return best.relu_(), latents, best.new_empty(len(best), 0), latents.new_empty(len(best), 0)
    dead_best, places = top_k_rows(pre[:, dead], aux_k, parallel=True)
    dead_latents = dead[places.long()].int()
    if rescore:
        dead_best = _exact(states, rows, b_enc, dead_latents)
    return best.relu_(), latents, dead_best.relu_(), dead_latents


def largest_of_matrix(
    values: Tensor,
    columns: Tensor,
    wanted: int,
    width: int,
    more: Callable[[Tensor, int], tuple[Tensor, Tensor]],
) -> tuple[Tensor, Tensor]:
    """The `wanted` largest positive entries of a whole matrix, row by row, from the few largest of each row.

    values, columns: [rows, c], the c largest entries of each row, largest first, negative ones as 0; c rows >= wanted.
    width: columns of the whole matrix. more(rows, c): the same for some rows (int64) and a larger c; it is asked for
    the rows that may hold more than c of the wanted entries, so that the work follows what is kept, not the width.

    Returns values [rows, most], 0 where an entry is not kept, and their columns; `most` is of the fullest row. Of
    entries equal to the smallest wanted one all are kept.
    """
    while True:
        flat = values.flatten()
        bound = torch.kthvalue(flat, len(flat) - wanted + 1).values
        kept = (values >= bound) & (values > 0)
        count = values.shape[1]
        full = torch.nonzero(kept[:, -1]).flatten()  # the entries after these rows' last candidates were never seen
        if count == width or not len(full):
            break
        count = min(2 * count, width)
        values = torch.nn.functional.pad(values, (0, count - values.shape[1]))
        columns = torch.nn.functional.pad(columns, (0, count - columns.shape[1]))
        values[full], columns[full] = more(full, count)
    most = max(1, int(kept.sum(dim=1).max()))
    return (values * kept)[:, :most].contiguous(), columns[:, :most].contiguous()


def _exact(states: Tensor, rows: Tensor, b_enc: Tensor, latents: Tensor) -> Tensor:
    return products_of(rows.device).dot_rows(states, latents, rows) + b_enc[latents.long()]
