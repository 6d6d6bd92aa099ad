"""Losses and gradients of each objective against its formula in plain torch, differentiated by autograd."""

import pytest
import torch
from tests.sae.training.synthetic import settings

from saelex.sae.activations import JumpReLU, ReLU, TopK
from saelex.sae.training.dense import jump_relu
from saelex.sae.training.objective import Now
from saelex.sae.training.objectives import OBJECTIVES

TOKENS, D_MODEL, LATENTS, K = 40, 12, 90, 4
VARIANCE = 2.5


def objective(gate, **changes):
    generator = torch.Generator().manual_seed(1)
    config = settings(gate=gate, n_latents=LATENTS, k=K, **changes)
    built = OBJECTIVES[gate](config, D_MODEL, torch.randn(D_MODEL, generator=generator) * 0.3, VARIANCE)
    with torch.no_grad():
        built.b_enc.normal_(0, 0.1, generator=generator)
        built.W_dec.add_(torch.randn(LATENTS, D_MODEL, generator=generator) * 0.05)
    states = torch.randn(TOKENS, D_MODEL, generator=generator)
    states[:3] *= 12  # tokens that take far more than k of a batch's latents
    return built, states


def leaves(built):
    return {name: p.detach().clone().requires_grad_() for name, p in built.named_parameters()}


def pre_activations(states, w):
    return (states - w["b_dec"]) @ w["W_enc"] + w["b_enc"]


def keep_k(pre):
    return pre.relu() * torch.zeros_like(pre).scatter(1, pre.topk(K).indices, 1.0)


def keep_batch(pre):
    positive = pre.relu()
    best = positive.flatten().topk(K * len(pre)).indices
    mask = torch.zeros(positive.numel()).scatter(0, best, 1.0).view_as(positive)
    return positive * mask


def error(states, reconstruction):
    return (states - reconstruction).pow(2).sum(1).mean()


def plain(states, w, keep):
    return error(states, keep(pre_activations(states, w)) @ w["W_dec"] + w["b_dec"])


def nested(states, w, keep, widths):
    codes = keep(pre_activations(states, w))
    return sum(error(states, codes[:, :m] @ w["W_dec"][:m] + w["b_dec"]) for m in widths) / len(widths)


def hierarchical(states, w):
    pre = pre_activations(states, w)
    order = pre.topk(K).indices
    total = 0
    for j in range(1, K + 1):
        codes = pre.relu() * torch.zeros_like(pre).scatter(1, order[:, :j], 1.0)
        total = total + error(states, codes @ w["W_dec"] + w["b_dec"])
    return total / K


def relu_l1(states, w):
    codes = pre_activations(states, w).relu()
    return error(states, codes @ w["W_dec"] + w["b_dec"]) + 0.2 * VARIANCE**0.5 * codes.sum(1).mean()


WIDTHS = [7, 30, 90]
REFERENCES = {
    "topk": ("topk", {}, lambda x, w: plain(x, w, keep_k)),
    "batch_topk": ("batch_topk", {}, lambda x, w: plain(x, w, keep_batch)),
    "matryoshka topk": ("topk", {"widths": WIDTHS}, lambda x, w: nested(x, w, keep_k, WIDTHS)),
    "matryoshka batch_topk": ("batch_topk", {"widths": WIDTHS}, lambda x, w: nested(x, w, keep_batch, WIDTHS)),
    "hierarchical_topk": ("hierarchical_topk", {}, hierarchical),
    "relu": ("relu", {}, relu_l1),
}


@pytest.mark.parametrize("kind", REFERENCES)
def test_loss_and_gradients_equal_plain_autograd(kind):
    gate, changes, reference = REFERENCES[kind]
    built, states = objective(gate, **changes)
    weights = leaves(built)
    expected = reference(states, weights)
    expected.backward()
    outcome = built(states, Now(None, 0.2, False))
    outcome.loss.backward()
    torch.testing.assert_close(outcome.loss, expected, rtol=1e-5, atol=0)
    for name, parameter in built.named_parameters():
        scale = float(weights[name].grad.abs().max())
        torch.testing.assert_close(parameter.grad, weights[name].grad, rtol=1e-4, atol=1e-5 * scale, msg=name)


@pytest.mark.parametrize("gate", ["batch_topk", "hierarchical_topk"])
def test_dead_latents_rebuild_the_error_of_the_whole_code(gate):
    built, states = objective(gate, aux_k=5)
    weights, dead = leaves(built), torch.arange(2, LATENTS, 3)
    pre = pre_activations(states, weights)
    codes = keep_batch(pre) if gate == "batch_topk" else keep_k(pre)
    rest = (states - codes @ weights["W_dec"] - weights["b_dec"]).detach()
    revived = pre[:, dead].relu() * torch.zeros(TOKENS, len(dead)).scatter(1, pre[:, dead].topk(5).indices, 1.0)
    aux = error(rest, revived @ weights["W_dec"][dead])
    outcome = built(states, Now(dead, 0.0, False))
    torch.testing.assert_close(outcome.parts["aux_loss"], aux.detach(), rtol=1e-5, atol=0)
    without = built(states, Now(None, 0.0, False))
    torch.testing.assert_close(outcome.loss, without.loss + aux / 16, rtol=1e-5, atol=0)
    (outcome.loss - without.loss).backward()
    (aux / 16).backward()
    scale = float(weights["W_enc"].grad.abs().max())
    torch.testing.assert_close(built.W_enc.grad, weights["W_enc"].grad, rtol=1e-3, atol=1e-4 * scale)


def test_what_fired_is_what_is_active():
    for gate in OBJECTIVES:
        built, states = objective(gate)
        outcome = built(states, Now(None, 0.0, False))
        pre = pre_activations(states, leaves(built)).detach()
        if gate == "batch_topk":
            codes = keep_batch(pre)
        elif gate == "jumprelu":
            codes = pre * (pre > built.log_threshold.exp())
        else:
            codes = pre.relu() if gate == "relu" else keep_k(pre)
        assert torch.equal(outcome.fired, (codes > 0).any(0))
        assert int((outcome.values > 0).sum()) == int((codes > 0).sum())
        expected = codes @ built.W_dec + built.b_dec
        torch.testing.assert_close(outcome.reconstruction, expected.detach(), rtol=1e-4, atol=1e-4)


def test_jump_relu_gradients_are_the_papers_estimators():
    """Rajamanoharan et al. 2024, eq. 11 and 12, one pair of token and latent at a time."""
    generator = torch.Generator().manual_seed(0)
    pre = torch.randn(50, 8, generator=generator).mul(0.3).requires_grad_()
    threshold = torch.linspace(0.05, 0.4, 8).requires_grad_()
    upstream, count_upstream = torch.randn(50, 8, generator=generator), torch.randn(50, generator=generator)
    bandwidth = 0.15
    values, l0 = jump_relu(pre, threshold, bandwidth)
    assert torch.equal(l0, (pre > threshold).sum(1).float())
    ((values * upstream).sum() + (l0 * count_upstream).sum()).backward()
    expected = torch.zeros(8)
    for token in range(50):
        for latent in range(8):
            at = float(threshold[latent].detach())
            kernel = float(abs(float(pre[token, latent].detach()) - at) / bandwidth < 0.5)
            expected[latent] -= upstream[token, latent] * at / bandwidth * kernel
            expected[latent] -= count_upstream[token] / bandwidth * kernel
    torch.testing.assert_close(threshold.grad, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(pre.grad, upstream * (pre > threshold))


def test_jump_relu_loss_is_error_plus_active_latents_in_units_of_variance():
    built, states = objective("jumprelu", initial_threshold=0.2, bandwidth=0.3)
    weights = leaves(built)
    outcome = built(states, Now(None, 0.02, False))
    pre = pre_activations(states, weights)
    active = pre > 0.2 * VARIANCE**0.5
    expected = error(states, (pre * active) @ weights["W_dec"] + weights["b_dec"])
    penalty = VARIANCE * active.sum(1).float().mean()
    torch.testing.assert_close(outcome.loss, expected + 0.02 * penalty, rtol=1e-5, atol=0)
    torch.testing.assert_close(outcome.parts["l0"], active.sum(1).float().mean())


def test_bfloat16_products_of_a_dense_gate_are_near_float32():
    built, states = objective("relu")
    exact, rounded = (built(states, Now(None, 0.1, bfloat16)).loss for bfloat16 in (False, True))
    assert exact != rounded
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0)
    rounded.backward()
    assert built.W_enc.grad.dtype == torch.float32


def test_gates_are_scaled_with_the_states():
    threshold = objective("jumprelu", initial_threshold=0.2)[0].gate(3.0)
    assert isinstance(threshold, JumpReLU)
    torch.testing.assert_close(threshold.threshold, torch.full((LATENTS,), 0.6 * VARIANCE**0.5))
    assert isinstance(objective("relu")[0].gate(3.0), ReLU)
    assert isinstance(objective("topk")[0].gate(3.0), TopK) and objective("hierarchical_topk")[0].gate(1.0).k == K


def test_batch_topk_threshold_is_a_mean_of_smallest_active_latents():
    built, states = objective("batch_topk")
    smallest = []
    for step in range(150):
        outcome = built(states * (1 + step / 100), Now(None, 0.0, False))
        smallest.append(float(outcome.values[outcome.values > 0].min()))
        built.observe(outcome.parts, step)
        if step == 19:
            assert float(built.threshold) == pytest.approx(sum(smallest) / 20, rel=1e-5)
    expected = sum(smallest[:100]) / 100  # from then on every step weighs a hundredth
    for value in smallest[100:]:
        expected += (value - expected) / 100
    assert float(built.threshold) == pytest.approx(expected, rel=1e-5)
    built.observe({"threshold": torch.zeros(())}, 150)  # no latent was active
    assert float(built.threshold) == pytest.approx(expected, rel=1e-5)
