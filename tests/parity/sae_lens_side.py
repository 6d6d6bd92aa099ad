"""What sae-lens makes of a checkpoint: its own SAEs, and those that its loaders of other suites' files build."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

sae_lens = pytest.importorskip("sae_lens", reason="compares with sae-lens: make parity")

from sae_lens.loading import pretrained_sae_loaders as loaders  # noqa: E402
from sae_lens.registry import get_sae_class, get_sae_training_class  # noqa: E402
from tests.sae.formats.builders import D, N, normal, states  # noqa: E402

from saelex.sae.autoencoder import SparseAutoencoder  # noqa: E402


def filled(sae: Any) -> Any:
    """The SAE with random weights instead of its initial ones; thresholds are positive."""
    with torch.no_grad():
        for i, (name, tensor) in enumerate(sorted(sae.state_dict().items())):
            values = normal(*(tensor.shape or (1,)), seed=20 + i).to(tensor.dtype).view_as(tensor)
            tensor.copy_(values.abs() if "threshold" in name else values)
    return sae.eval()


def made(architecture: str, training: bool = False, **settings: Any) -> Any:
    """A tiny SAE of sae-lens' own."""
    kind, config = (get_sae_training_class if training else get_sae_class)(architecture)
    metadata = sae_lens.saes.sae.SAEMetadata(model_name="gpt2-small", hook_name="blocks.2.hook_resid_post")
    return filled(kind(config(d_in=D, d_sae=N, metadata=metadata, **settings)))


def local_hub(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Let sae-lens' loaders find the files of every repository under root/<name of the repository without owner>."""

    def hf_hub_download(repo_id: str, filename: str, *, subfolder: str = "", force_download: bool = False) -> str:
        return str(root / repo_id.split("/")[1] / subfolder / filename)

    def shapes(repo_id: str, filename: str) -> dict[str, list[int]]:
        with safe_open(hf_hub_download(repo_id, filename), "pt") as file:
            return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118

    monkeypatch.setattr(loaders, "hf_hub_download", hf_hub_download)
    monkeypatch.setattr(loaders, "get_safetensors_tensor_shapes", shapes)


def loaded(loader: Callable[..., Any], repo_id: str, folder: str, **overrides: Any) -> Any:
    """What sae-lens builds of the files, in float32, before it folds a norm (as its `from_pretrained` does)."""
    config, state, _ = loader(repo_id, folder, "cpu", False, {"dtype": "float32", "device": "cpu", **overrides})
    return built(config, state)


def built(config: dict[str, Any], state: dict[str, torch.Tensor]) -> Any:
    config = loaders.handle_config_defaulting(config)
    kind, config_class = get_sae_class(config["architecture"])
    sae = kind(config_class.from_dict(config))
    sae.process_state_dict_for_loading(state)
    sae.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return sae.eval()


@torch.no_grad()
def agree(ours: SparseAutoencoder, theirs: Any) -> None:
    """Both encode and rebuild the same, and some latents fire."""
    x = states()
    latents = theirs.encode(x)
    assert 0.02 < float((latents > 0).float().mean()) < 0.98
    rebuilt = theirs(x)
    out = ours(x)
    torch.testing.assert_close(out.latents, latents, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(out.reconstruction, rebuilt, rtol=1e-4, atol=1e-3)
