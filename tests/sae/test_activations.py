import pytest
import torch

from saelex.errors import InputError
from saelex.sae.activations import JumpReLU, ReLU, TopK


def test_relu():
    assert ReLU()(torch.tensor([-1.0, 0.0, 2.0])).tolist() == [0.0, 0.0, 2.0]


def test_jumprelu_keeps_the_value_above_a_strict_threshold():
    gate = JumpReLU(torch.tensor([0.5, 0.5, 0.5, -1.0, -1.0]))
    assert gate(torch.tensor([[0.4, 0.5, 0.75, -0.5, 0.25]])).tolist() == [[0.0, 0.0, 0.75, 0.0, 0.25]]


def test_jumprelu_with_one_threshold_for_all():
    assert JumpReLU(torch.tensor([1.0]))(torch.tensor([0.5, 1.0, 2.0])).tolist() == [0.0, 0.0, 2.0]


def test_threshold_keeps_float32_when_the_weights_do_not():
    exact = torch.tensor([0.123456789])
    gate = torch.nn.Sequential(JumpReLU(exact)).to(torch.bfloat16)[0]
    assert gate.threshold.dtype == torch.float32
    assert torch.equal(gate.threshold, exact)


def test_topk_takes_the_k_largest_then_relu():
    pre = torch.tensor([[3.0, -1.0, 2.0, 5.0], [-4.0, -3.0, -2.0, 1.0], [2.0, 2.0, 2.0, 2.0]])
    assert TopK(2)(pre).tolist() == [[3.0, 0.0, 0.0, 5.0], [0.0, 0.0, 0.0, 1.0], [2.0, 2.0, 0.0, 0.0]]


def test_topk_gradient_flows_through_what_is_kept():
    pre = torch.tensor([[[3.0, -1.0, 2.0, 5.0]], [[-4.0, -3.0, -2.0, 1.0]]], requires_grad=True)
    (TopK(2)(pre) * torch.tensor([1.0, 10.0, 100.0, 1000.0])).sum().backward()
    assert pre.grad.tolist() == [[[1.0, 0.0, 0.0, 1000.0]], [[0.0, 0.0, 0.0, 1000.0]]]


def test_topk_of_no_latents_is_an_error():
    with pytest.raises(InputError, match="at least one"):
        TopK(0)
