from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from saelex.sae.activations import Activation, JumpReLU, TopK
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.config import SaeConfig


def sae(activation: Activation, **config: str | int) -> SparseAutoencoder:
    weights = (torch.zeros(4, 8), torch.zeros(8), torch.zeros(8, 4), torch.zeros(4))
    return SparseAutoencoder(*weights, activation, SaeConfig(4, 8, **config))  # type: ignore[arg-type]


def test_repr_tells_shape_gate_and_place() -> None:
    whole = sae(TopK(2), model_name="owner/model", layer=3).to(torch.bfloat16)
    assert repr(whole) == "SparseAutoencoder(4 -> 8, TopK(k=2), bfloat16, blocks.3.hook_resid_post of owner/model)"
    assert repr(sae(JumpReLU(torch.ones(8)))) == "SparseAutoencoder(4 -> 8, JumpReLU(n_thresholds=8), float32)"


def test_a_failing_save_leaves_the_old_sae_and_what_else_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights and configuration belong together: a folder with one of each would be a third SAE."""
    original = os.fsync
    for step in range(40):
        folder = tmp_path / str(step)
        sae(TopK(2)).save(folder)
        (folder / "metrics.jsonl").write_text("{}\n")
        calls: list[int] = []

        def fsync(descriptor: int, calls: list[int] = calls, step: int = step) -> None:
            calls.append(descriptor)
            if len(calls) == step + 1:
                raise OSError("no space left on device")
            original(descriptor)

        with monkeypatch.context() as patched, suppress(OSError):
            patched.setattr(os, "fsync", fsync)
            sae(JumpReLU(torch.ones(8))).save(folder)
        weights = set(load_file(folder / "sae_weights.safetensors"))
        assert ("threshold" in weights) == isinstance(SparseAutoencoder.load(folder).activation, JumpReLU)
        assert sorted(path.name for path in folder.iterdir()) == [
            "cfg.json",
            "metrics.jsonl",
            "sae_weights.safetensors",
        ]
        if len(calls) <= step:
            break
    else:
        raise AssertionError("more steps than thought")
    assert step > 3 and "threshold" in weights
