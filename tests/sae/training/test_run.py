import json
import sys
import types

import numpy as np
import pytest
import torch
from tests.sae.training.synthetic import FEATURES, KINDS, fvu, settings, synthetic

from saelex.errors import InputError
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.training.run import train_sae
from saelex.sae.training.trainer import SaeTrainer


@pytest.mark.parametrize(
    ("changes", "bound", "found"),
    [
        ({}, 0.11, 0.9),
        pytest.param({"normalise_input": True, "centre": False}, 0.11, 0.9, marks=pytest.mark.slow),
        pytest.param({"bfloat16": True}, 0.11, 0.9, marks=pytest.mark.slow),
        pytest.param({"schedule": "cosine", "decay_share": 1.0}, 0.13, 0.8, marks=pytest.mark.slow),
        ({"gate": "batch_topk"}, 0.2, 0.6),
        pytest.param({"gate": "topk", "widths": [32, 64, 128]}, 0.16, 0.6, marks=pytest.mark.slow),
        pytest.param({"gate": "batch_topk", "widths": [32, 64, 128]}, 0.22, 0.5, marks=pytest.mark.slow),
        ({"gate": "hierarchical_topk"}, 0.13, 0.8),
        ({"gate": "relu", "sparsity": 0.4}, 0.3, 0.8),
        ({"gate": "jumprelu", "sparsity": 0.03, "bandwidth": 0.1, "initial_threshold": 0.1}, 0.16, 0.6),
        pytest.param(
            {"gate": "jumprelu", "sparsity": 0.03, "bandwidth": 0.1, "initial_threshold": 0.1, "bfloat16": True},
            0.16,
            0.6,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_recovers_a_planted_dictionary(changes, bound, found):
    """bound: of FVU, which is 1 for the mean alone; found: share of the directions that are a decoder row."""
    states = synthetic(21_000)
    base = {"tokens": 256 * 500, "batch_tokens": 256, "learning_rate": 5e-3, "buffer_tokens": 20_000}
    sae = train_sae(states[:20_000], settings(**{**base, **changes}), model_name="m", layer=1)
    held_out = states[20_000:]
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(FEATURES, 24, generator=generator), dim=1)
    nearest = (sae.W_dec.detach() @ directions.T).amax(dim=0)  # [features]
    active = (sae.encode(held_out) > 0).float().sum(1).mean()
    assert fvu(sae, held_out) < bound
    assert (nearest > 0.95).float().mean() > found
    assert active < (10 if changes.get("gate") == "relu" else 4.5)
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(128), rtol=1e-5, atol=1e-5)
    assert (sae.config.layer, sae.config.hook_name) == (1, "blocks.1.hook_resid_post")


@pytest.mark.parametrize("gate", ["topk", "batch_topk", "relu", "jumprelu"])
def test_few_latents_die(gate):
    """As many latents as half the planted directions, so that there is work for all; AuxK revives the unlucky."""
    changes = {**KINDS[gate], "n_latents": 30, "tokens": 256 * 400, "batch_tokens": 256, "learning_rate": 4e-3}
    states = synthetic(21_000)
    sae = train_sae(states[:20_000], settings(**changes))
    fired = (sae.encode(states[20_000:]) > 0).any(0)
    assert fired.float().mean() >= 0.9


def killed_at(monkeypatch, step):
    train_step = SaeTrainer.train_step

    def stopping(self, batch):
        if self.step == step:
            raise KeyboardInterrupt
        return train_step(self, batch)

    monkeypatch.setattr(SaeTrainer, "train_step", stopping)


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_run_ends_with_the_same_bits(kind, tmp_path, monkeypatch):
    states = synthetic(3000).numpy().astype(np.float16)
    config = settings(
        **KINDS[kind], tokens=64 * 120, checkpoint_steps=25, log_steps=10, dead_after_tokens=500, normalise_input=True,
        accumulate=2,
    )  # fmt: skip
    whole = train_sae(states, config, output=tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        killed_at(patch, 61)
        train_sae(states, config, output=tmp_path / "parts")
    assert [path.name for path in (tmp_path / "parts").glob("checkpoint-*")] == ["checkpoint-50"]
    resumed = train_sae(states, config, output=tmp_path / "parts")
    for one, other in zip(tensors_of(whole), tensors_of(resumed), strict=True):
        assert torch.equal(one, other)
    files = [path.name for path in sorted((tmp_path / "parts").iterdir())]
    assert files == ["cfg.json", "metrics.jsonl", "sae_weights.safetensors"]
    logs = [[json.loads(line) for line in (tmp_path / name / "metrics.jsonl").open()] for name in ("whole", "parts")]
    assert [record["step"] for record in logs[1]] == list(range(10, 121, 10))
    assert [record["loss"] for record in logs[0]] == [record["loss"] for record in logs[1]]
    loaded = SparseAutoencoder.load(tmp_path / "parts")
    assert torch.equal(loaded(synthetic(50)).latents, resumed(synthetic(50)).latents)
    assert loaded.config.metadata["training"]["gate"] == config.gate


def tensors_of(sae):
    own = [sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec]
    return [*own, sae.activation.threshold] if hasattr(sae.activation, "threshold") else own


def test_statistics_are_estimated_once(tmp_path, monkeypatch):
    states = synthetic(500)
    config = settings(tokens=640, checkpoint_steps=5, normalise_input=True)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        killed_at(patch, 7)
        train_sae(states, config, output=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("saelex.sae.training.trainer.estimate", lambda source: pytest.fail("estimated again"))
        sae = train_sae(states, config, output=tmp_path)
    scale = float((states - states.mean(0)).norm(dim=1).mean())
    assert sae.config.metadata["folded_input"]["scale"] == pytest.approx(scale, rel=1e-5)


def test_other_settings_are_not_resumed(tmp_path, monkeypatch):
    states = synthetic(500)
    train_sae(states, settings(tokens=640), output=tmp_path)
    with pytest.raises(InputError, match="finished"):
        train_sae(states, settings(tokens=640), output=tmp_path)
    folder = tmp_path / "other"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        killed_at(patch, 2)
        train_sae(states, settings(checkpoint_steps=1), output=folder)
    with pytest.raises(InputError, match=r"learning_rate=0\.005, not 0\.1"):
        train_sae(states, settings(learning_rate=0.1), output=folder)
    with pytest.raises(InputError, match="gate=topk, not relu"):
        train_sae(states, settings(gate="relu"), output=folder)
    with pytest.raises(InputError, match="unfinished"):
        train_sae(states, settings(), output=folder, resume=False)
    (folder / "checkpoint-2" / "state.safetensors").write_bytes(b"short")
    with pytest.raises(InputError, match="checkpoint-2: not a readable checkpoint"):
        train_sae(states, settings(), output=folder)


def test_tensorboard_gets_every_record(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = settings(tokens=64 * 30, log_steps=10, log_to=["tensorboard"])
    train_sae(synthetic(500), config, output=tmp_path)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("fvu")] == [10, 20, 30]
    assert [event.value for event in events.Scalars("loss")] == pytest.approx([record["loss"] for record in records])


def test_wandb_gets_every_record_and_the_settings(tmp_path, monkeypatch):
    told = []

    class Run:
        def log(self, values, step):
            told.append((step, values["fvu"]))

        def finish(self):
            told.append("finished")

    def init(**arguments):
        told.append((arguments["name"], arguments["config"]["k"], arguments["resume"]))
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    train_sae(synthetic(500), settings(tokens=64 * 20, log_steps=10, log_to=["wandb"]), output=tmp_path / "mine")
    records = [json.loads(line) for line in (tmp_path / "mine" / "metrics.jsonl").open()]
    assert told == [("mine", 3, "auto"), *((record["step"], record["fvu"]) for record in records), "finished"]


def test_a_log_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"wandb, which is not installed: .*pip install wandb"):
        train_sae(synthetic(500), settings(log_to=["wandb"]), output=tmp_path)
    with pytest.raises(InputError, match="log_to writes into the output folder"):
        train_sae(synthetic(500), settings(log_to=["tensorboard"]))
