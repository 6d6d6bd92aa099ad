import math

import pytest
import torch
from tests.sae.training.synthetic import KINDS, settings, synthetic

from saelex.errors import InputError
from saelex.sae.training.buffer import ArrayStates
from saelex.sae.training.objective import Now
from saelex.sae.training.run import train_sae
from saelex.sae.training.trainer import SaeTrainer


def trainer_of(states, **changes):
    return SaeTrainer(ArrayStates(states), settings(**changes))


def test_a_step_equals_plain_torch():
    """One update against AdamW on a plain loss, with the projection, clipping and normalisation written out."""
    states = synthetic(512)
    trainer = trainer_of(states, warmup_steps=1, decay_share=0.0, clip_norm=0.05, dead_after_tokens=64)
    trainer.tokens_since_fired[::5] = 1000
    dead = torch.arange(0, 128, 5)
    W_enc, b_enc, W_dec, b_dec = (p.detach().clone().requires_grad_() for p in trainer.sae.parameters())
    batch = states[:64]
    trainer.train_step(batch)

    pre = (batch - b_dec) @ W_enc + b_enc
    reconstruction = torch.zeros_like(pre).scatter(1, pre.topk(3).indices, 1.0).mul(pre.relu()) @ W_dec + b_dec
    loss = (batch - reconstruction).pow(2).sum(1).mean()
    pre_dead = pre[:, dead]
    codes = torch.zeros_like(pre_dead).scatter(1, pre_dead.topk(6).indices, 1.0) * pre_dead.relu()
    aux = (batch - reconstruction.detach() - codes @ W_dec[dead]).pow(2).sum(1).mean()
    variance = (states - states.mean(0)).pow(2).sum(1).mean()
    ((loss + aux / 16) / variance).backward()
    with torch.no_grad():
        W_dec.grad -= (W_dec.grad * W_dec).sum(1, keepdim=True) * W_dec
        tensors = [W_enc, b_enc, W_dec, b_dec]
        norm = torch.sqrt(sum(t.grad.pow(2).sum() for t in tensors))
        for tensor in tensors:
            tensor.grad *= min(1.0, 0.05 / float(norm))
    torch.optim.AdamW(tensors, lr=5e-3, eps=6e-10, weight_decay=0.01).step()
    with torch.no_grad():
        W_dec /= W_dec.norm(dim=1, keepdim=True)
    for ours, expected in zip(trainer.sae.parameters(), tensors):
        torch.testing.assert_close(ours.detach(), expected.detach(), rtol=1e-4, atol=2e-5)


def test_thresholds_do_not_decay():
    """With no gradient but much decay, weights shrink and log-thresholds stay."""
    states = synthetic(256)
    trainer = trainer_of(states, **KINDS["jumprelu"], weight_decay=10.0, warmup_steps=1, learning_rate=1e-3)
    with torch.no_grad():
        trainer.sae.b_enc.fill_(-50.0)  # nothing fires, nor is near its threshold
    before = trainer.sae.log_threshold.detach().clone()
    trainer.train_step(states[:64])
    assert torch.equal(trainer.sae.log_threshold.detach(), before)
    torch.testing.assert_close(trainer.sae.b_enc.detach(), torch.full((128,), -50.0 * 0.99))


@pytest.mark.parametrize("kind", ["topk", "hierarchical_topk", "relu", "jumprelu"])
def test_micro_batches_add_up_to_the_large_batch(kind):
    states = synthetic(640)
    whole, parts = (trainer_of(states, **KINDS[kind], accumulate=n, dead_after_tokens=128) for n in (1, 4))
    for start in range(0, 640, 64):
        for trainer in (whole, parts):
            trainer.train_step(states[start : start + 64])
    assert torch.equal(whole.tokens_since_fired, parts.tokens_since_fired)
    for one, other in zip(whole.sae.parameters(), parts.sae.parameters()):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-5)


def test_batch_topk_takes_k_per_token_of_each_micro_batch():
    states = synthetic(64)
    trainer = trainer_of(states, gate="batch_topk", accumulate=2)
    halves = [trainer.sae(half, Now(None, 0.0, False)) for half in states.chunk(2)]
    record = trainer_of(states, gate="batch_topk", accumulate=2, log_steps=1).train_step(states)
    assert [int((half.values > 0).sum()) for half in halves] == [96, 96]
    assert record["l0"] == 3.0
    assert record["threshold"] == pytest.approx(sum(float(half.parts["threshold"]) for half in halves) / 2)


@pytest.mark.parametrize("normalise_input", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_export_is_the_trained_sae_in_the_states_own_scale(kind, normalise_input):
    states = synthetic(2000)
    trainer = trainer_of(states, **KINDS[kind], normalise_input=normalise_input)
    for start in range(0, 1920, 64):
        trainer.train_step(states[start : start + 64])
    mean, scale = torch.zeros(24), 1.0
    if normalise_input:
        mean = states.mean(0)
        scale = float((states - mean).norm(dim=1).mean())
    inner = trainer.sae
    with torch.no_grad():
        pre = ((states - mean) / scale - inner.b_dec) @ inner.W_enc + inner.b_enc
        if kind in ("topk", "hierarchical_topk"):
            codes = pre.relu() * torch.zeros_like(pre).scatter(1, pre.topk(3).indices, 1.0)
        elif kind == "relu":
            codes = pre.relu()
        else:
            threshold = inner.log_threshold.exp() if kind == "jumprelu" else inner.threshold
            codes = pre * (pre > threshold)
        rebuilt = codes @ inner.W_dec + inner.b_dec
        exported = trainer.export()
        # a pre-activation at its threshold may fall on either side
        latents = exported.encode(states)
        assert ((latents > 0) != (codes > 0)).sum() <= 3
        both = (latents > 0) & (codes > 0)
        assert both.sum() > 2000
        torch.testing.assert_close(latents[both], codes[both] * scale, rtol=1e-4, atol=1e-4)
        same = ((latents > 0) == (codes > 0)).all(1)
        reconstruction = exported(states).reconstruction
        torch.testing.assert_close(reconstruction[same], (rebuilt * scale + mean)[same], rtol=1e-4, atol=1e-4)
    folded = exported.config.metadata.get("folded_input")
    assert folded == ({"mean_length": pytest.approx(float(mean.norm())), "scale": scale} if normalise_input else None)


def test_nan_states_divergence_and_death_say_what_to_change():
    states = synthetic(500)
    broken = states.clone()
    broken[3, 3] = math.nan
    with pytest.raises(InputError, match="token states hold NaN"):
        train_sae(broken, settings())
    trainer = trainer_of(states)
    broken_batch = broken[:64]
    with pytest.raises(InputError, match="step 1: the token states hold NaN"):
        trainer.train_step(broken_batch)
    trainer = trainer_of(states)
    trainer.sae.W_dec.data.fill_(math.inf)
    with pytest.raises(InputError, match="lower learning_rate"):
        trainer.train_step(states[:64])
    with pytest.raises(InputError, match="equal"):
        train_sae(torch.ones(500, 8), settings())


@pytest.mark.parametrize(
    ("kind", "cure"), [("topk", "raise warmup_steps"), ("batch_topk", "raise warmup_steps"), ("relu", "lower sparsity")]
)
def test_a_silent_run_is_stopped(kind, cure):
    states = synthetic(500)
    trainer = trainer_of(states, **KINDS[kind])
    trainer.sae.b_enc.data.fill_(-1e6)
    with pytest.raises(InputError, match=f"step 50: no latent has fired for 50 steps.*{cure}"):
        for _ in range(60):
            trainer.train_step(states[:64])


def test_a_dense_run_is_stopped():
    states = synthetic(500)
    trainer = trainer_of(states, gate="relu", sparsity=0.0, sparsity_warmup_steps=20, learning_rate=1e-6)
    trainer.sae.b_enc.data.fill_(100.0)
    with pytest.raises(InputError, match=r"step 520: 128 of 128 latents .*raise sparsity \(now 0\)"):
        for _ in range(600):
            trainer.train_step(states[:64])


def test_an_empty_source_and_odd_shares_are_errors():
    with pytest.raises(InputError, match="empty"):
        trainer_of(torch.empty(0, 8))
