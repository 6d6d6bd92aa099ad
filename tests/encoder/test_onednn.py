"""oneDNN's linear layer and its gradient, against PyTorch's own in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear as torch_linear

from saelex.encoder import onednn
from saelex.encoder.onednn import linear

here = pytest.mark.skipif(onednn._linear_pointwise is None, reason="this PyTorch is built without oneDNN")


def tensors(*shape: int, d_out: int = 7, bias: bool = True) -> list[Tensor]:
    """inputs of the shape, weight, bias and the gradient that comes back."""
    generator = torch.Generator().manual_seed(0)
    shapes = (shape, (d_out, shape[-1]), (d_out,), (*shape[:-1], d_out))
    made = [torch.randn(some, generator=generator) for some in shapes]
    return made if bias else [made[0], made[1], made[3]]


def gradients(operator: object, *arguments: Tensor, grad: Tensor) -> list[Tensor]:
    leaves = [argument.detach().clone().requires_grad_() for argument in arguments]
    out = operator(*leaves)  # type: ignore[operator]
    out.backward(grad)
    return [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


@here
@pytest.mark.parametrize("shape", [(5,), (6, 5), (2, 3, 5), (4, 0, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_are_torchs(shape: tuple[int, ...], bias: bool) -> None:
    *arguments, grad = tensors(*shape, bias=bias)
    ours = gradients(linear, *arguments, grad=grad)
    wanted = gradients(torch_linear, *(argument.double() for argument in arguments), grad=grad.double())
    assert len(ours) == len(wanted) == len(arguments) + 1
    for one, other in zip(ours, wanted):
        torch.testing.assert_close(one, other.float(), rtol=1e-5, atol=1e-6)


@here
def test_tensors_that_are_not_contiguous() -> None:
    inputs, weight, bias, grad = tensors(4, 6, 5)
    views = (inputs.transpose(0, 1), weight.t().contiguous().t(), bias)
    for given in (grad.transpose(0, 1), torch.ones(()).expand(6, 4, 7)):
        ours = gradients(linear, *views, grad=given)
        for one, other in zip(ours, gradients(torch_linear, *views, grad=given)):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@here
def test_what_is_frozen_gets_no_gradient() -> None:
    inputs, weight, bias, grad = tensors(6, 5)
    inputs.requires_grad_()
    linear(inputs, weight, bias).backward(grad)
    assert weight.grad is None and bias.grad is None
    assert inputs.grad is not None
    torch.testing.assert_close(inputs.grad, grad @ weight)
    weight.requires_grad_()
    linear(inputs.detach(), weight, bias).backward(grad)
    assert weight.grad is not None and bias.grad is None
    torch.testing.assert_close(weight.grad, grad.t() @ inputs.detach())
    assert not linear(inputs.detach(), weight.detach(), bias).requires_grad


def test_other_dtypes_are_torchs() -> None:
    inputs, weight, bias, _ = tensors(6, 5)
    for dtype in (torch.float64, torch.bfloat16):
        arguments = [argument.to(dtype) for argument in (inputs, weight, bias)]
        torch.testing.assert_close(linear(*arguments), torch_linear(*arguments), rtol=0, atol=0)
