import json
import math
from dataclasses import asdict

import numba
import numpy as np
import pytest
import torch

from saelex.errors import InputError
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.buffer import ArrayStates
from saelex.sae.checkpoints import Checkpoints
from saelex.sae.training import TopKTrainer, TopKTraining, train_topk

D_MODEL, FEATURES, ACTIVE = 24, 60, 3


@pytest.fixture(autouse=True)
def one_thread():
    """These matrices are too small to share; threads would only wait for each other."""
    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    numba.set_num_threads(before[1])


def synthetic(tokens, seed=0):
    """States that are sums of 3 of 60 random directions around a mean far from zero."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(FEATURES, D_MODEL, generator=generator), dim=1)
    which = torch.rand(tokens, FEATURES, generator=generator).topk(ACTIVE).indices
    strength = torch.rand(tokens, ACTIVE, generator=generator) + 0.5
    codes = torch.zeros(tokens, FEATURES).scatter(1, which, strength)
    return codes @ directions + 2.0


def settings(**changes):
    base = {
        "n_latents": 128, "k": 3, "tokens": 64 * 300, "batch_tokens": 64, "learning_rate": 5e-3, "warmup_steps": 20,
        "dead_after_tokens": 2000, "buffer_tokens": 2048, "checkpoint_steps": 0, "log_steps": 100, "bfloat16": False,
    }  # fmt: skip
    return TopKTraining(**{**base, **changes})


@torch.no_grad()
def fvu(sae, states):
    error = (states - sae(states).reconstruction).pow(2).sum()
    return float(error / (states - states.mean(0)).pow(2).sum())


@pytest.mark.parametrize("changes", [{}, {"normalise_input": True, "centre": False}, {"bfloat16": True}])
def test_recovers_sparse_structure(changes):
    torch.manual_seed(0)
    states = synthetic(8000)
    sae = train_topk(states, settings(**changes), model_name="m", layer=1)
    held_out = synthetic(9000)[8000:]
    assert fvu(sae, held_out) < 0.15  # untrained it is 0.58; with frozen weights 0.55; without a centre 0.8
    latents = sae.encode(held_out)
    assert (latents > 0).sum(1).max() <= 3
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(128), rtol=1e-5, atol=1e-5)
    assert (sae.config.layer, sae.config.hook_name) == (1, "blocks.1.hook_resid_post")


def test_a_step_equals_plain_torch():
    """One update against AdamW on a plain loss, with the projection, clipping and normalisation written out."""
    config = settings(warmup_steps=1, decay_share=0.0, clip_norm=0.05, dead_after_tokens=64)
    states = synthetic(512)
    trainer = TopKTrainer(ArrayStates(states), config)
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


def test_resumed_run_ends_with_the_same_bits(tmp_path, monkeypatch):
    states = synthetic(3000).numpy().astype(np.float16)
    config = settings(tokens=64 * 120, checkpoint_steps=25, log_steps=10, dead_after_tokens=500, normalise_input=True)
    whole = train_topk(states, config, output=tmp_path / "whole")

    train_step = TopKTrainer.train_step

    def killed(self, batch):
        if self.step == 61:
            raise KeyboardInterrupt
        return train_step(self, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TopKTrainer, "train_step", killed)
        train_topk(states, config, output=tmp_path / "parts")
    assert [path.name for path in (tmp_path / "parts").glob("checkpoint-*")] == ["checkpoint-50"]
    resumed = train_topk(states, config, output=tmp_path / "parts")
    for one, other in zip(whole.parameters(), resumed.parameters()):
        assert torch.equal(one, other)
    files = [path.name for path in sorted((tmp_path / "parts").iterdir())]
    assert files == ["cfg.json", "metrics.jsonl", "sae_weights.safetensors"]
    logs = [[json.loads(line) for line in (tmp_path / name / "metrics.jsonl").open()] for name in ("whole", "parts")]
    assert [record["step"] for record in logs[1]] == list(range(10, 121, 10))
    assert [record["loss"] for record in logs[0]] == [record["loss"] for record in logs[1]]
    loaded = SparseAutoencoder.load(tmp_path / "parts")
    assert torch.equal(loaded(synthetic(50)).latents, resumed(synthetic(50)).latents)
    assert loaded.config.metadata["training"]["k"] == 3


def test_another_configuration_is_not_resumed(tmp_path):
    states = synthetic(500)
    train_topk(states, settings(tokens=640), output=tmp_path)
    with pytest.raises(InputError, match="finished"):
        train_topk(states, settings(tokens=640), output=tmp_path)
    folder = tmp_path / "other"
    trainer = TopKTrainer(ArrayStates(states), settings())
    checkpoints = Checkpoints(folder, asdict(settings()))
    checkpoints.begin(resume=True)
    trainer.train_step(states[:64])
    checkpoints.write(1, *trainer.state())
    with pytest.raises(InputError, match=r"learning_rate=0\.005, not 0\.1"):
        train_topk(states, settings(learning_rate=0.1), output=folder)
    with pytest.raises(InputError, match="unfinished"):
        train_topk(states, settings(), output=folder, resume=False)
    (folder / "checkpoint-1" / "state.safetensors").write_bytes(b"short")
    with pytest.raises(InputError, match="checkpoint-1: not a readable checkpoint"):
        train_topk(states, settings(), output=folder)


def test_input_normalisation_is_folded_exactly():
    states = synthetic(2000)
    trainer = TopKTrainer(ArrayStates(states), settings(normalise_input=True))
    for start in range(0, 1920, 64):
        trainer.train_step(states[start : start + 64])
    mean = states.mean(0)
    scale = (states - mean).norm(dim=1).mean()
    inner = trainer.sae((states - mean) / scale)
    outer = trainer.export()(states)
    torch.testing.assert_close(outer.latents, inner.latents * scale, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(outer.reconstruction, inner.reconstruction * scale + mean, rtol=1e-4, atol=1e-4)


def test_learning_rate_rises_stays_and_falls():
    config = settings(tokens=64 * 100, warmup_steps=10, decay_share=0.2)
    rates = [config.rate(step) for step in range(100)]
    assert rates[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert rates[9:81] == pytest.approx([1.0] * 72)
    assert rates[90] == pytest.approx(0.5) and rates[99] == pytest.approx(0.05)


def test_nan_states_divergence_and_death_say_what_to_change():
    states = synthetic(500)
    broken = states.clone()
    broken[3, 3] = math.nan
    with pytest.raises(InputError, match="token states hold NaN"):
        train_topk(broken, settings())
    trainer = TopKTrainer(ArrayStates(states), settings())
    trainer.sae.W_dec.data.fill_(math.inf)
    with pytest.raises(InputError, match="lower learning_rate"):
        trainer.train_step(states[:64])
    trainer = TopKTrainer(ArrayStates(states), settings())
    trainer.sae.b_enc.data.fill_(-1e6)
    with pytest.raises(InputError, match="no latent has fired for 50 steps"):
        for _ in range(60):
            trainer.train_step(states[:64])
    with pytest.raises(InputError, match="equal"):
        train_topk(torch.ones(500, 8), settings())


@pytest.mark.parametrize("changes", [{"k": 128}, {"tokens": 10}, {"learning_rate": 0.0}, {"n_latents": 0}])
def test_impossible_settings_are_errors(changes):
    with pytest.raises(InputError):
        settings(**changes)
