"""The head without its [tokens, latents] tensor: hand-written forward and backward over blocks of latents.

Max pooling keeps the maxima and their tokens, both [sequences, latents]. The gates ReLU and JumpReLU, the soft-cap and
the saturation never decrease, so they wait until after the maximum (SPLARE eq. 2), and only entries that survive them
have a gradient: two sparse products. Sum pooling gates before it adds, and computes its blocks again for the backward.
The TopK gate needs a token's k best latents of all blocks; from then on a token is k numbers, and plain autograd does
the rest.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from saelex.encoder.head import LinearHead
from saelex.encoder.pooling.operations import ActiveLatents, Entries, HeadOperations
from saelex.encoder.pooling.packed import PooledLatents, accumulation_dtype, sequence_of_token
from saelex.sae.activations import TopK

# share of non-zeros in a block of gradients up to which adding rows one by one beats two matrix products
_SPARSE_BELOW = 0.02


def pool(hidden: Tensor, offsets: Tensor, head: LinearHead, operations: HeadOperations) -> PooledLatents:
    """See `saelex.encoder.pooling.pool`."""
    hidden = head.transform(hidden).contiguous()
    if isinstance(head.activation, TopK):
        return _pool_topk(hidden, offsets, head, operations)
    if head.pooling == "sum":
        total, tokens = _LinearSum.apply(hidden, head.weight, head.bias, head.scale, offsets, head, operations)
        return PooledLatents(head.alpha * total, tokens)
    maxima, tokens = linear_max(hidden, offsets, head, operations)
    weights = activate(maxima, head)
    return PooledLatents(weights, torch.where(weights > 0, tokens, -1))


def linear_max(hidden: Tensor, offsets: Tensor, head: LinearHead, operations: HeadOperations) -> tuple[Tensor, Tensor]:
    """Largest pre-activation of every latent over each sequence's tokens, and its token; both [sequences, latents].

    hidden: [tokens, d_model], already transformed. Sequences without tokens: -inf and -1.
    """
    maxima, tokens = _LinearMax.apply(hidden, head.weight, head.bias, head.scale, offsets, operations)
    return maxima, tokens


def linear_topk(hidden: Tensor, head: LinearHead, operations: HeadOperations) -> tuple[Tensor, Tensor]:
    """Pre-activations [tokens, k] of each token's k best latents, and those latents, int64 [tokens, k]; a TopK head's.

    hidden: [tokens, d_model], already transformed.
    """
    pre, latents = _LinearTopK.apply(hidden, head.weight, head.bias, head.scale, head.activation.k, operations)
    return pre, latents


def strongest(
    pre: Tensor, latents: Tensor, offsets: Tensor, head: LinearHead, operations: HeadOperations
) -> ActiveLatents:
    """The maxima over each sequence of what `linear_topk` gave, with a gradient to pre; gated by ReLU."""
    places = operations.strongest(pre.detach(), latents, offsets, head.n_latents)
    token = places // pre.shape[1]
    sequence = sequence_of_token(offsets)[token]  # ascending
    indptr = torch.searchsorted(sequence, torch.arange(len(offsets), device=sequence.device))
    tokens = (token - offsets[sequence]).int()
    return ActiveLatents(indptr, latents.flatten()[places].int(), pre.flatten()[places], tokens)


def activate(maxima: Tensor, head: LinearHead) -> Tensor:
    """Gate (ReLU or JumpReLU), soft-cap, saturation and alpha, after the maximum; [sequences, latents]."""
    return head.alpha * head.saturate(torch.relu(head.activation(head.cap(maxima))))


class _LinearMax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        scale: Tensor | None,
        offsets: Tensor,
        operations: HeadOperations,
    ) -> tuple[Tensor, Tensor]:
        with _without_autocast(hidden):
            maxima, tokens = operations.linear_max(hidden, weight, offsets)
            maxima += bias
            if scale is not None:
                maxima *= scale
        learns_scale = scale is not None and scale.requires_grad
        ctx.save_for_backward(hidden, weight, scale, offsets, tokens, maxima if learns_scale else None)
        ctx.operations = operations
        ctx.mark_non_differentiable(tokens)
        return maxima, tokens

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        hidden, weight, scale, offsets, tokens, maxima = ctx.saved_tensors
        sequences, latents = grad.nonzero(as_tuple=True)  # only the active ones, and those the loss looks at
        values = grad[sequences, latents]
        packed = offsets[sequences] + tokens[sequences, latents]
        pre = None if maxima is None else maxima[sequences, latents]
        return *_linear_backward(ctx, Entries(packed, latents, values), pre, hidden, weight, scale), None, None


class _LinearTopK(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        scale: Tensor | None,
        k: int,
        operations: HeadOperations,
    ) -> tuple[Tensor, Tensor]:
        with _without_autocast(hidden):
            pre, latents = operations.token_topk(hidden, weight, bias, scale, k)
        learns_scale = scale is not None and scale.requires_grad
        ctx.save_for_backward(hidden, weight, scale, latents, pre if learns_scale else None)
        ctx.operations = operations
        ctx.mark_non_differentiable(latents)
        return pre, latents

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        hidden, weight, scale, latents, pre = ctx.saved_tensors
        tokens, places = grad.nonzero(as_tuple=True)
        entries = Entries(tokens, latents[tokens, places], grad[tokens, places])
        pre = None if pre is None else pre[tokens, places]
        return *_linear_backward(ctx, entries, pre, hidden, weight, scale), None, None


def _linear_backward(
    ctx: Any, entries: Entries, pre: Tensor | None, hidden: Tensor, weight: Tensor, scale: Tensor | None
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of hidden, weight, bias and scale, given the entries of the gradient of the pre-activations `pre`."""
    needs_hidden, needs_weight, needs_bias, needs_scale = ctx.needs_input_grad[:4]
    n_latents = len(weight)
    grad_scale = None
    if needs_scale and pre is not None and scale is not None:
        per_entry = entries.values * pre / scale[entries.latents]
        grad_scale = per_entry.new_zeros(n_latents).index_add_(0, entries.latents, per_entry).to(scale.dtype)
    if scale is not None:
        entries = entries._replace(values=entries.values * scale[entries.latents].to(entries.values.dtype))
    grad_bias = None
    if needs_bias:
        grad_bias = entries.values.new_zeros(n_latents).index_add_(0, entries.latents, entries.values)
    grad_hidden = ctx.operations.hidden_gradient(entries, hidden, weight) if needs_hidden else None
    grad_weight = ctx.operations.weight_gradient(entries, hidden, weight) if needs_weight else None
    return grad_hidden, grad_weight, grad_bias, grad_scale


class _LinearSum(torch.autograd.Function):
    """(sum over tokens of the saturated latents, the strongest token), both [sequences, latents]; not for TopK."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        scale: Tensor | None,
        offsets: Tensor,
        head: LinearHead,
        operations: HeadOperations,
    ) -> tuple[Tensor, Tensor]:
        shape = (len(offsets) - 1, len(weight))
        total = torch.empty(shape, dtype=accumulation_dtype(hidden), device=hidden.device)
        maxima, tokens = torch.empty_like(total), torch.empty_like(total, dtype=torch.int32)
        with _without_autocast(hidden):
            for start, stop, block in operations.latent_blocks(hidden, weight):
                latents = _gated(_pre_activations(block, bias, scale, start, stop), head, start, stop)
                operations.segment_max(latents, offsets, maxima, tokens, start)
                operations.segment_sum(head.saturate(latents), offsets, total, start)
        ctx.save_for_backward(hidden, weight, bias, scale, offsets)
        ctx.head, ctx.operations = head, operations
        tokens[maxima <= 0] = -1
        ctx.mark_non_differentiable(tokens)
        return total, tokens

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, scale, offsets = ctx.saved_tensors
        needs_hidden, needs_weight, needs_bias, needs_scale = ctx.needs_input_grad[:4]
        sequence = sequence_of_token(offsets)
        grad_hidden = torch.zeros_like(hidden, dtype=grad.dtype) if needs_hidden else None
        grad_weight = torch.empty_like(weight) if needs_weight else None
        grad_bias = torch.empty_like(bias) if needs_bias else None
        grad_scale = torch.empty_like(scale) if needs_scale else None
        with _without_autocast(hidden):
            for start, stop, block in ctx.operations.latent_blocks(hidden, weight):
                here = slice(start, stop)
                pre = _pre_activations(block, bias, scale, start, stop)
                grad_pre = _through_gate(pre, grad[:, here][sequence], ctx.head, start, stop)  # [tokens, width]
                if grad_scale is not None:
                    grad_scale[here] = (grad_pre * pre).sum(0) / scale[here]
                if scale is not None:
                    grad_pre *= scale[here]
                if grad_bias is not None:
                    grad_bias[here] = grad_pre.sum(0)
                entries = _entries_if_few(grad_pre)
                if grad_hidden is not None:
                    grad_hidden += _hidden_share(grad_pre, entries, hidden, weight[here], ctx.operations)
                if grad_weight is not None:
                    grad_weight[here] = _weight_rows(grad_pre, entries, hidden, weight[here], ctx.operations)
        if grad_hidden is not None:
            grad_hidden = grad_hidden.to(hidden.dtype)
        return grad_hidden, grad_weight, grad_bias, grad_scale, None, None, None


def _pre_activations(block: Tensor, bias: Tensor, scale: Tensor | None, start: int, stop: int) -> Tensor:
    """scale * (products + bias), in place."""
    block += bias[start:stop]
    return block if scale is None else block.mul_(scale[start:stop])


def _gated(pre: Tensor, head: LinearHead, start: int, stop: int) -> Tensor:
    """The latents start:stop of every token, before saturation; [tokens, width]."""
    return torch.relu(head.gate(start, stop)(head.cap(pre)))


def _through_gate(pre: Tensor, grad: Tensor, head: LinearHead, start: int, stop: int) -> Tensor:
    """The gradient [tokens, width] of the saturated latents, taken back to their pre-activations."""
    with torch.enable_grad():
        pre = pre.detach().requires_grad_()
        latents = head.saturate(_gated(pre, head, start, stop))
    (grad_pre,) = torch.autograd.grad(latents, pre, grad)
    return grad_pre


def _entries_if_few(grad_pre: Tensor) -> Entries | None:
    """The non-zeros of a block's gradient [tokens, width], where adding them one by one is the quicker way."""
    if int(grad_pre.count_nonzero()) > _SPARSE_BELOW * grad_pre.numel():
        return None
    tokens, latents = grad_pre.nonzero(as_tuple=True)
    return Entries(tokens, latents, grad_pre[tokens, latents])


def _hidden_share(
    grad_pre: Tensor, entries: Entries | None, hidden: Tensor, weight: Tensor, operations: HeadOperations
) -> Tensor:
    """A block's share of the hidden states' gradient, [tokens, d_model]."""
    if entries is None:
        return grad_pre @ weight.to(grad_pre.dtype)
    return operations.hidden_gradient(entries, hidden, weight)


def _weight_rows(
    grad_pre: Tensor, entries: Entries | None, hidden: Tensor, weight: Tensor, operations: HeadOperations
) -> Tensor:
    """The gradient of a block's rows of the weight, [width, d_model]."""
    if entries is None:
        return (grad_pre.t() @ hidden.to(grad_pre.dtype)).to(weight.dtype)
    return operations.weight_gradient(entries, hidden, weight)


def _pool_topk(hidden: Tensor, offsets: Tensor, head: LinearHead, operations: HeadOperations) -> PooledLatents:
    pre, latents = linear_topk(hidden, head, operations)
    active = strongest(pre, latents, offsets, head, operations)
    cells = sequence_of_token(active.indptr) * head.n_latents + active.latents  # [entries], in [sequences x latents]
    shape = (len(offsets) - 1, head.n_latents)
    tokens = torch.full(shape, -1, dtype=torch.int32, device=hidden.device)
    tokens.view(-1)[cells] = active.tokens
    values = active.values
    if head.pooling == "sum":
        places = (~(pre.detach() <= 0)).flatten().nonzero().squeeze(1)  # NaN reaches the result
        cells = (sequence_of_token(offsets)[:, None] * head.n_latents + latents).flatten()[places]
        values = pre.flatten()[places]
    weights = values.new_zeros(shape).flatten().index_add(0, cells, head.alpha * head.saturate(values))
    return PooledLatents(weights.view(shape), tokens)


def _without_autocast(hidden: Tensor) -> torch.autocast:
    """Autocast would round the float32 sums of the head to half precision."""
    return torch.autocast(hidden.device.type, enabled=False)
