"""oneDNN's linear layer on CPUs, where PyTorch would call MKL for float32.

MKL leaves AVX-512 unused on AMD: 216 against 490 GFLOP/s on two Zen 5 cores. torch.compile calls the same operator.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear as torch_linear


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """inputs [..., d_in] @ weight.T [d_in, d_out] + bias [d_out], whatever autocast says where all is float32."""
    usable = inputs.device.type == "cpu" and inputs.dtype == weight.dtype == torch.float32
    if not usable or _linear_pointwise is None:
        return torch_linear(inputs, weight, bias)
    if not torch.is_grad_enabled():
        return _product(inputs, weight, bias)
    learnt: Tensor = _Linear.apply(inputs, weight, bias)
    return learnt


class _Linear(torch.autograd.Function):
    """The operator has no gradient of its own; its transposed products read the tensors where they are."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return _product(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        inputs, weight = ctx.saved_tensors
        grad_inputs, grad_weight, grad_bias = None, None, None
        rows = grad.reshape(-1, grad.shape[-1])  # [tokens, d_out]
        if ctx.needs_input_grad[0]:
            grad_inputs = _product(rows, weight.t()).view_as(inputs)
        if ctx.needs_input_grad[1]:
            grad_weight = _product(rows.t(), inputs.reshape(-1, inputs.shape[-1]).t())
        if ctx.needs_input_grad[2]:
            grad_bias = rows.sum(dim=0)
        return grad_inputs, grad_weight, grad_bias


def _product(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    assert _linear_pointwise is not None
    product: Tensor = _linear_pointwise(inputs, weight, bias, "none", [], "")
    return product


def _find() -> torch._ops.OpOverloadPacket | None:
    if not torch.backends.mkldnn.is_available():
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


_linear_pointwise = _find()
