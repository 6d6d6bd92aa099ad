"""Gates of the training libraries in the form of saelex's own."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saelex.errors import InputError
from saelex.sae.activations import JumpReLU
from saelex.sae.formats.gates import batch_topk, gated, topk, vectors

ANYWHERE = Path("weights")
REALS = st.floats(-4, 4, width=32)


@settings(deadline=None)
@given(u=REALS, b_gate=REALS, b_mag=REALS, r_mag=REALS)
def test_a_gated_sae_is_a_jumprelu(u, b_gate, b_mag, r_mag):
    """relu(exp(r) u + b_mag) where u + b_gate > 0, for every sign of the two; rounding decides only at the boundary."""
    gate = gated(*(torch.tensor([value]) for value in (b_gate, b_mag, r_mag)))
    magnitude = torch.tensor(r_mag).double().exp()
    ours = gate.activation(torch.tensor([u]).double() * gate.scale + gate.bias)
    theirs = (magnitude * u + b_mag).clamp_min(0) if u + b_gate > 0 else torch.zeros(()).double()
    if abs(u + b_gate) > 1e-5:
        torch.testing.assert_close(ours[0].double(), theirs, rtol=1e-5, atol=1e-4)


def test_the_gate_is_strict_at_its_boundary():
    """u = 0.5, b_gate = -0.5: nothing passes at u + b_gate = 0, everything just above it; all exact in binary."""
    gate = gated(torch.tensor([-0.5]), torch.tensor([2.0]), torch.tensor([0.0]))
    for u, expected in ((0.5, 0.0), (0.53125, 2.53125)):
        assert gate.activation(torch.tensor([u]) * gate.scale + gate.bias).item() == expected


def test_a_magnitude_below_zero_never_passes():
    gate = gated(torch.tensor([3.0]), torch.tensor([-2.0]), torch.tensor([0.0]))  # open from u = -3 on
    assert gate.activation(torch.tensor([1.5]) * gate.scale + gate.bias).item() == 0
    assert gate.activation(torch.tensor([2.5]) * gate.scale + gate.bias).item() == 0.5


def test_batch_topk_has_its_learnt_threshold():
    gate = batch_topk(torch.zeros(3), {"threshold": torch.tensor(0.25).double()}, "threshold", ANYWHERE)
    assert isinstance(gate.activation, JumpReLU)
    assert gate.activation(torch.tensor([0.25, 0.5, -1.0])).tolist() == [0, 0.5, 0]


@pytest.mark.parametrize("tensors", [{}, {"threshold": torch.tensor(-1.0)}, {"threshold": torch.zeros(1)}])
def test_batch_topk_without_a_learnt_threshold_is_refused(tensors):
    with pytest.raises(InputError, match="weights: a BatchTopK SAE without a learnt threshold"):
        batch_topk(torch.zeros(3), tensors, "threshold", ANYWHERE)


@pytest.mark.parametrize("k", [0, -3, 2.5, None, "5", True, float("nan")])
def test_k_is_a_number_of_latents(k):
    assert topk(torch.zeros(5), 4.0, ANYWHERE).activation.k == 4
    with pytest.raises(InputError, match="not a whole number of latents"):
        topk(torch.zeros(5), k, ANYWHERE)
    with pytest.raises(InputError, match="k is 6, and there are 5 latents"):
        topk(torch.zeros(5), 6, ANYWHERE)


def test_vectors_are_float32_or_wider():
    held = {"half": torch.ones(3).bfloat16(), "double": torch.ones(3).double()}
    assert [tensor.dtype for tensor in vectors(held, held, 3, ANYWHERE)] == [torch.float32, torch.float64]
    with pytest.raises(InputError, match=r"half has the shape \[3\], not \[4\]"):
        vectors(held, held, 4, ANYWHERE)
