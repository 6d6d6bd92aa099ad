from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.encoder.pooling.problems import (
    FUSED,
    GATES,
    LENGTHS,
    POOLED_WAYS,
    TRITON,
    WAYS,
    latents_for,
    make_head,
    make_hidden,
    offsets_of,
    run,
    safe_entries,
    without_triton,
)
from torch import nn

from saelex.encoder.head import LinearHead
from saelex.encoder.pooling import operations, pool
from saelex.encoder.pooling.devices import OPERATIONS
from saelex.sae.activations import JumpReLU, ReLU, TopK

EVERY_WAY = [*(("reference", gate) for gate in GATES), *WAYS]
EVERY_POOLED_WAY = [*(("reference", gate, pooling) for gate in GATES for pooling in ("max", "sum")), *POOLED_WAYS]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(autouse=True)
def many_small_blocks(monkeypatch):
    """Blocks of 64 latents, so that small problems cross block borders."""
    for own in OPERATIONS.values():
        monkeypatch.setattr(type(own), "block_entries", 1)
    monkeypatch.setattr(operations, "_FEWEST_LATENTS", 64)


def compare(lengths: list[int], head: LinearHead, seed: int = 1, implementation: str = "fused") -> None:
    hidden, offsets = make_hidden(lengths, d_model=head.d_model, seed=seed), offsets_of(lengths)
    safe = safe_entries(hidden, offsets, head)
    grad = torch.randn(safe.shape, generator=torch.Generator().manual_seed(seed)) * safe
    expected = run(hidden, offsets, head, "reference", grad)
    found = run(hidden, offsets, head, implementation, grad)
    torch.testing.assert_close(found.pooled.weights[safe], expected.pooled.weights[safe], **CLOSE)
    assert torch.equal(found.pooled.tokens[safe], expected.pooled.tokens[safe])
    assert found.gradients.keys() == expected.gradients.keys() >= {"hidden", "weight", "bias", "alpha"}
    for name, gradient in expected.gradients.items():
        bound = CLOSE["atol"] * max(float(gradient.abs().max()), 1.0) if gradient.numel() else 0.0
        torch.testing.assert_close(found.gradients[name], gradient, atol=bound, rtol=1e-4, msg=name)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("saturation", ["log1p", "none"])
@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("implementation", FUSED)
def test_values_tokens_and_gradients_are_the_references(implementation, gate, pooling, saturation, scaled):
    head = make_head(gate, pooling=pooling, saturation=saturation, scaled=scaled, alpha=0.7)
    compare(LENGTHS, head, implementation=implementation)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("gate", ["jumprelu", "topk"])
@without_triton
def test_tritons_values_tokens_and_gradients_are_the_references(gate, scaled):
    compare(LENGTHS, make_head(gate, 40, scaled=scaled, alpha=0.7), implementation="triton")


@without_triton
def test_sums_with_tritons_gradients_are_the_references():
    compare([4, 0, 2], make_head("relu", 40, pooling="sum"), implementation="triton")


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("gate", GATES)
def test_square_root(gate, pooling):
    """In float64: the root's derivative has no bound near zero, so float32's last bits would show."""
    head = make_head(gate, pooling=pooling, saturation="sqrt", scaled=True).double()
    hidden, offsets = make_hidden(LENGTHS).double(), offsets_of(LENGTHS)
    grad = torch.randn(len(LENGTHS), head.n_latents, dtype=torch.float64)
    expected, found = (run(hidden, offsets, head, name, grad) for name in ("reference", "fused"))
    torch.testing.assert_close(found.pooled.weights, expected.pooled.weights)
    for name, gradient in expected.gradients.items():
        torch.testing.assert_close(found.gradients[name], gradient, atol=1e-8, rtol=1e-6, msg=name)


@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=8),
    gate=st.sampled_from(GATES),
    pooling=st.sampled_from(["max", "sum"]),
    n_latents=st.integers(7, 150),
    seed=st.integers(0, 1000),
)
def test_any_raggedness(lengths, gate, pooling, n_latents, seed):
    compare(lengths, make_head(gate, n_latents, pooling=pooling, seed=seed, d_model=9), seed)


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("gate", GATES)
def test_gradients_are_derivatives(gate, pooling):
    head = make_head(gate, 20, d_model=4, pooling=pooling, scaled=True, alpha=0.8).double()
    head.requires_grad_(True)
    offsets = offsets_of([3, 0, 2])
    hidden = make_hidden([3, 0, 2], d_model=4).double().requires_grad_()

    def weights(hidden, weight, bias, scale, alpha):
        tensors = {"weight": weight, "bias": bias, "scale": scale, "alpha": alpha}
        return torch.func.functional_call(
            _Pooled(head), {f"head.{name}": t for name, t in tensors.items()}, (hidden, offsets)
        )

    assert torch.autograd.gradcheck(weights, (hidden, head.weight, head.bias, head.scale, head.alpha), fast_mode=True)


class _Pooled(nn.Module):
    def __init__(self, head: LinearHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, hidden, offsets):
        return pool(hidden, offsets, self.head).weights


@pytest.mark.parametrize("implementation", ["fused", TRITON])
def test_soft_cap_and_transform_are_differentiated(implementation):
    weight = torch.randn(100, 24, generator=torch.Generator().manual_seed(3))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # large products all reach the cap in float32, and tie there
        transform = nn.Linear(24, 24)
    compare(LENGTHS, LinearHead.from_vocabulary(transform, weight, softcap=1.5), implementation=implementation)


@pytest.mark.parametrize(("implementation", "gate"), EVERY_WAY)
def test_the_first_of_equal_tokens_gets_the_latent_and_the_whole_gradient(gate, implementation):
    once = make_hidden([4])
    thrice = torch.cat([once, once, once])
    head = make_head(gate, latents_for(implementation))
    found = run(thrice, offsets_of([12]), head, implementation, torch.ones(1, head.n_latents))
    active = found.pooled.weights[0] > 0
    assert active.any()
    assert found.pooled.tokens[0, active].max() < 4
    assert found.gradients["hidden"][:4].abs().sum() > 0
    assert torch.equal(found.gradients["hidden"][4:], torch.zeros(8, 24))


@pytest.mark.parametrize(("implementation", "gate", "pooling"), EVERY_POOLED_WAY)
def test_latents_that_no_token_activates_are_zero_without_gradient(gate, pooling, implementation):
    head = make_head(gate, latents_for(implementation), pooling=pooling)
    with torch.no_grad():
        head.bias -= 100
    found = run(
        make_hidden(LENGTHS), offsets_of(LENGTHS), head, implementation, torch.ones(len(LENGTHS), head.n_latents)
    )
    assert torch.equal(found.pooled.weights, torch.zeros(len(LENGTHS), head.n_latents))
    assert (found.pooled.tokens == -1).all()
    assert all(not gradient.any() for gradient in found.gradients.values())


@pytest.mark.parametrize("lengths", [[], [0], [0, 0]])
@pytest.mark.parametrize(("implementation", "gate"), EVERY_WAY)
def test_batches_without_any_token(gate, lengths, implementation):
    head = make_head(gate, latents_for(implementation))
    found = run(
        make_hidden(lengths), offsets_of(lengths), head, implementation, torch.ones(len(lengths), head.n_latents)
    )
    assert found.pooled.weights.shape == found.pooled.tokens.shape == (len(lengths), head.n_latents)
    assert not found.pooled.weights.any()
    assert (found.pooled.tokens == -1).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("implementation", "gate", "pooling"), POOLED_WAYS)
def test_half_precision_is_summed_in_float32(implementation, gate, pooling, dtype):
    """The inputs' rounding is the only one: results are float32 and those of the rounded inputs in float32."""
    head, half = (make_head(gate, latents_for(implementation), pooling=pooling) for _ in range(2))
    half = half.to(dtype)
    with torch.no_grad():
        head.weight.copy_(half.weight.float())
    hidden, offsets = make_hidden(LENGTHS).to(dtype), offsets_of(LENGTHS)
    safe = safe_entries(hidden.float(), offsets, head)
    expected = run(hidden.float(), offsets, head, "reference", safe.float())
    found = run(hidden, offsets, half, implementation, safe.float())
    assert found.pooled.weights.dtype == torch.float32
    torch.testing.assert_close(found.pooled.weights[safe], expected.pooled.weights[safe], **CLOSE)
    precision = torch.finfo(dtype).eps
    for name in ("hidden", "weight"):
        assert found.gradients[name].dtype == dtype
        bound = precision * float(expected.gradients[name].abs().max())
        torch.testing.assert_close(found.gradients[name].float(), expected.gradients[name], atol=bound, rtol=precision)
    torch.testing.assert_close(found.gradients["bias"], expected.gradients["bias"], **CLOSE)


def test_bfloat16_maxima_at_their_tokens_are_the_values():
    """Tokens may tie in bfloat16, so the value at the arg-max is compared, not the index."""
    head, hidden = make_head("relu", saturation="none").bfloat16(), make_hidden([20]).bfloat16()
    pooled = pool(hidden, offsets_of([20]), head)
    pre = hidden.float() @ head.weight.float().t() + head.bias
    latent = (pooled.weights[0] > 0).nonzero().squeeze(1)
    torch.testing.assert_close(pre[pooled.tokens[0, latent].long(), latent], pooled.weights[0, latent], **CLOSE)


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("gate", GATES)
def test_what_is_frozen_gets_no_gradient(gate, pooling):
    head = make_head(gate, pooling=pooling).requires_grad_(False)
    hidden = make_hidden(LENGTHS).requires_grad_()
    pool(hidden, offsets_of(LENGTHS), head).weights.sum().backward()
    assert hidden.grad.any()
    assert all(parameter.grad is None for parameter in head.parameters())
    head.weight.requires_grad_(True)
    pool(hidden.detach(), offsets_of(LENGTHS), head).weights.sum().backward()
    assert head.weight.grad.any()


@pytest.mark.parametrize(("implementation", "gate", "pooling"), EVERY_POOLED_WAY)
def test_a_broken_hidden_state_shows(implementation, gate, pooling):
    hidden = make_hidden([3, 2])
    hidden[1] = torch.nan
    head = make_head(gate, latents_for(implementation), pooling=pooling)
    weights = pool(hidden, offsets_of([3, 2]), head, implementation).weights
    assert weights[0].isnan().any()
    assert not weights[1].isnan().any()


@pytest.mark.parametrize("activation", [ReLU(), JumpReLU(torch.full((1,), 0.4)), TopK(3)])
@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_autocast_does_not_round_the_sums(activation, pooling):
    hidden, offsets = make_hidden(LENGTHS), offsets_of(LENGTHS)
    whole = make_head("relu", pooling=pooling)
    head = LinearHead(whole.weight, whole.bias, activation, pooling=pooling)
    expected = run(hidden, offsets, head, "fused", torch.ones(len(LENGTHS), head.n_latents))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = pool(hidden, offsets, head)
    assert torch.equal(pooled.weights, expected.pooled.weights)


@pytest.mark.parametrize("gate", ["relu", "jumprelu"])
def test_dense_and_sparse_backward_of_sum_pooling_agree(gate, monkeypatch):
    head, hidden, offsets = make_head(gate, pooling="sum"), make_hidden(LENGTHS), offsets_of(LENGTHS)
    outcomes = []
    for share in (0.0, 1.0):
        monkeypatch.setattr("saelex.encoder.pooling.fused._SPARSE_BELOW", share)
        outcomes.append(run(hidden, offsets, head, "fused", torch.ones(len(LENGTHS), head.n_latents)))
    for name, gradient in outcomes[0].gradients.items():
        torch.testing.assert_close(outcomes[1].gradients[name], gradient, atol=1e-4, rtol=1e-4)
