"""Tiny checkpoints in the exact published layouts, one `Builder` for each format.

The tests of damage, of loading and of the head run over `library_builders.BUILDERS`, of which these are a part; what a
format computes is in its own test file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

D, N = 8, 20  # dimensions of a state, latents


@dataclass(frozen=True)
class Builder:
    """A format's tiny checkpoint.

    tensors: its tensors by the file's own names, fresh ones at each call, in the published dtypes.
    write: (root, tensors or None for its own, **changed settings) -> the path that `SparseAutoencoder.load` is given.
    weights, config: files relative to that path (`weights` is "" where the path is the file); config None: has none.
    model, layer: what it was trained on, as the checkpoint says; None where it does not.
    optional: tensors that may be missing. decoder: tensors that encoding does not need.
    damaged: another word than "safetensors" in the error for a file cut short.
    mapped: whether the weights stay in the file's memory.
    """

    name: str
    tensors: Callable[[], dict[str, Tensor]]
    write: Callable[..., Path]
    weights: str
    config: str | None
    model: str | None
    layer: int | None
    optional: frozenset[str] = frozenset()
    decoder: frozenset[str] = frozenset()
    damaged: str = "safetensors"
    mapped: bool = True


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def states() -> Tensor:
    """States [tokens, D] that let some latents of every checkpoint fire."""
    return normal(50, D, seed=9) * 3


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


# ---- Gemma Scope ---------------------------------------------------------------------------------------------------


def gemma_scope_tensors() -> dict[str, Tensor]:
    shapes = {"W_enc": (D, N), "b_enc": (N,), "W_dec": (N, D), "b_dec": (D,), "threshold": (N,)}
    made = {name: normal(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}
    return {**made, "threshold": made["threshold"].abs() * 2}


def write_gemma_scope(
    root: Path,
    tensors: Mapping[str, Tensor] | None = None,
    *,
    repository: str = "gemma-scope-2b-pt-res",
    place: str = "layer_16/width_65k/average_l0_128",
    compressed: bool = False,
) -> Path:
    folder = root / repository / place
    folder.mkdir(parents=True)
    arrays = {name: tensor.numpy() for name, tensor in (tensors or gemma_scope_tensors()).items()}
    (np.savez_compressed if compressed else np.savez)(folder / "params.npz", **arrays)
    return folder


GEMMA_SCOPE = Builder(
    "gemma_scope",
    gemma_scope_tensors,
    write_gemma_scope,
    weights="params.npz",
    config=None,
    model="google/gemma-2-2b",
    layer=16,
    decoder=frozenset({"W_dec"}),
    damaged="npz",
    mapped=False,  # a zip aligns nothing
)

# ---- Gemma Scope 2 -------------------------------------------------------------------------------------------------


def gemma_scope_2_tensors() -> dict[str, Tensor]:
    names = {"W_enc": "w_enc", "W_dec": "w_dec"}
    return {names.get(name, name): tensor for name, tensor in gemma_scope_tensors().items()}


def write_gemma_scope_2(
    root: Path,
    tensors: Mapping[str, Tensor] | None = None,
    *,
    place: str = "gemma-scope-2-1b-pt/resid_post/layer_13_width_65k_l0_medium",
    **changes: Any,
) -> Path:
    folder = root / place
    values = {
        "hf_hook_point_in": "model.layers.13.output", "hf_hook_point_out": "model.layers.13.output", "width": N,
        "model_name": "gemma-v3-1b-pt", "architecture": "jump_relu", "l0": 60, "affine_connection": False,
        "type": "sae",
    }  # fmt: skip
    write_json(folder / "config.json", {**values, **changes})
    save_file(dict(tensors or gemma_scope_2_tensors()), folder / "params.safetensors")
    return folder


GEMMA_SCOPE_2 = Builder(
    "gemma_scope_2",
    gemma_scope_2_tensors,
    write_gemma_scope_2,
    weights="params.safetensors",
    config="config.json",
    model="google/gemma-3-1b-pt",
    layer=13,
    decoder=frozenset({"w_dec"}),
)

# ---- Llama Scope ---------------------------------------------------------------------------------------------------


def llama_scope_tensors() -> dict[str, Tensor]:
    tensors = {
        "encoder.weight": normal(N, D, seed=1),
        "encoder.bias": normal(N, seed=2),
        "decoder.weight": normal(D, N, seed=3) / 2,
        "decoder.bias": normal(D, seed=4),
    }
    return {name: tensor.bfloat16() for name, tensor in tensors.items()}


def write_llama_scope(root: Path, tensors: Mapping[str, Tensor] | None = None, **changes: Any) -> Path:
    folder = root / "Llama3_1-8B-Base-L24R-32x"
    values = {
        "hook_point_in": "blocks.24.hook_resid_post", "hook_point_out": "blocks.24.hook_resid_post", "d_model": D,
        "d_sae": N, "expansion_factor": 32, "act_fn": "jumprelu", "jump_relu_threshold": 0.75390625,
        "norm_activation": "dataset-wise", "dataset_average_activation_norm": {"in": 5.5, "out": 4.25},
        "use_decoder_bias": True, "apply_decoder_bias_to_pre_encoder": False, "sparsity_include_decoder_norm": True,
        "top_k": 50, "use_glu_encoder": False, "dtype": "torch.bfloat16", "lp": 1,
    }  # fmt: skip
    write_json(folder / "hyperparams.json", {**values, **changes})
    write_json(folder / "lm_config.json", {"model_name": "meta-llama/Llama-3.1-8B", "d_model": D})
    (folder / "checkpoints").mkdir()
    save_file(dict(tensors or llama_scope_tensors()), folder / "checkpoints" / "final.safetensors")
    return folder


LLAMA_SCOPE = Builder(
    "llama_scope",
    llama_scope_tensors,
    write_llama_scope,
    weights="checkpoints/final.safetensors",
    config="hyperparams.json",
    model="meta-llama/Llama-3.1-8B",
    layer=24,
)

# ---- OpenMOSS' newer layout ----------------------------------------------------------------------------------------

HOOK = "blocks.15.hook_resid_post"


def openmoss_tensors() -> dict[str, Tensor]:
    """Of today's library: a row of W_E for each dimension, a row of W_D for each latent."""
    return {
        "W_E": normal(D, N, seed=1),
        "b_E": normal(N, seed=2),
        "W_D": normal(N, D, seed=3) / 2,
        "b_D": normal(D, seed=4),
        "activation_function.log_jumprelu_threshold": normal(N, seed=5) / 2 - 0.5,
        f"dataset_average_activation_norm.{HOOK}": torch.tensor(5.5),
    }


def r1_distill_tensors() -> dict[str, Tensor]:
    """Of Llama-Scope-R1-Distill: torch.nn.Linear's own names and layout."""
    ours = openmoss_tensors()
    return {
        "encoder.weight": ours["W_E"].T.contiguous(),
        "encoder.bias": ours["b_E"],
        "decoder.weight": ours["W_D"].T.contiguous(),
        "decoder.bias": ours["b_D"],
        "log_jumprelu_threshold": ours["activation_function.log_jumprelu_threshold"],
        f"dataset_average_activation_norm.{HOOK}": torch.tensor(5.5),
    }


def write_openmoss(
    root: Path, tensors: Mapping[str, Tensor] | None = None, *, place: str = "some-sae", **changes: Any
) -> Path:
    folder = root / place
    values = {
        "sae_type": "sae", "d_model": D, "expansion_factor": N / D, "use_decoder_bias": True, "act_fn": "jumprelu",
        "norm_activation": "dataset-wise", "sparsity_include_decoder_norm": True, "top_k": 50,
        "use_triton_kernel": False, "sparsity_threshold_for_triton_spmm_kernel": 0.996,
        "jumprelu_threshold_window": 2.0, "hook_point_in": HOOK, "hook_point_out": HOOK, "use_glu_encoder": False,
    }  # fmt: skip
    write_json(folder / "config.json", {**values, **changes})
    save_file(dict(tensors or openmoss_tensors()), folder / "sae_weights.safetensors")
    return folder


def write_r1_distill(root: Path, tensors: Mapping[str, Tensor] | None = None, **changes: Any) -> Path:
    place = "Llama-Scope-R1-Distill/400M-Slimpajama-400M-OpenR1-Math-220k/L15R"
    return write_openmoss(root, tensors or r1_distill_tensors(), place=place, **changes)


OPENMOSS = Builder(
    "openmoss",
    openmoss_tensors,
    write_openmoss,
    weights="sae_weights.safetensors",
    config="config.json",
    model=None,
    layer=15,
)
R1_DISTILL = Builder(
    "openmoss",
    r1_distill_tensors,
    write_r1_distill,
    weights="sae_weights.safetensors",
    config="config.json",
    model="deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
    layer=15,
)

SUITE_BUILDERS = [GEMMA_SCOPE, GEMMA_SCOPE_2, LLAMA_SCOPE, OPENMOSS, R1_DISTILL]
