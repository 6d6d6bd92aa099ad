"""Tiny checkpoints as training libraries write them, and the suites in `.pt` files: see `builders.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tests.sae.formats.builders import SUITE_BUILDERS, Builder, D, N, normal, write_json
from torch import Tensor

WIDE = 1024  # latents; Qwen-Scope's names count them in 1,024s

# ---- SAELens -------------------------------------------------------------------------------------------------------

GATED = ("b_gate", "b_mag", "r_mag")


def saelens_tensors(*vectors: str) -> dict[str, Tensor]:
    """W_enc, W_dec, b_dec, and the vectors over latents; thresholds are positive."""
    made = {"W_enc": normal(D, N, seed=1), "W_dec": normal(N, D, seed=2) / 2, "b_dec": normal(D, seed=3)}
    for i, name in enumerate(vectors):
        made[name] = normal(N, seed=10 + i)
    if "threshold" in made:
        made["threshold"] = made["threshold"].abs()
    return made


def saelens_config(architecture: str, **changes: Any) -> dict[str, Any]:
    """As SAELens 6 writes it."""
    metadata = {
        "sae_lens_version": "6.54.12", "sae_lens_training_version": "6.54.12", "model_name": "gemma-2-2b",
        "hook_name": "blocks.12.hook_resid_post", "prepend_bos": True, "context_size": 1024,
        "neuronpedia_id": "gemma-2-2b/12-some-16k",
    }  # fmt: skip
    return {
        "architecture": architecture, "d_in": D, "d_sae": N, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": False, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": metadata, **changes,
    }  # fmt: skip


def write_saelens(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Path:
    write_json(folder / "cfg.json", config)
    save_file(dict(tensors), folder / "sae_weights.safetensors")
    return folder


def saelens_gated_tensors() -> dict[str, Tensor]:
    return saelens_tensors(*GATED)


def saelens_jumprelu_tensors() -> dict[str, Tensor]:
    return saelens_tensors("b_enc", "threshold")


def saelens_topk_tensors() -> dict[str, Tensor]:
    return saelens_tensors("b_enc")


def write_saelens_gated(root: Path, tensors: Mapping[str, Tensor] | None = None) -> Path:
    return write_saelens(root / "gated", saelens_config("gated"), tensors or saelens_gated_tensors())


def write_saelens_jumprelu(root: Path, tensors: Mapping[str, Tensor] | None = None) -> Path:
    return write_saelens(root / "jumprelu", saelens_config("jumprelu"), tensors or saelens_jumprelu_tensors())


def write_saelens_topk(root: Path, tensors: Mapping[str, Tensor] | None = None) -> Path:
    config = saelens_config("topk", k=4, rescale_acts_by_decoder_norm=True, apply_b_dec_to_input=True)
    return write_saelens(root / "topk", config, tensors or saelens_topk_tensors())


# ---- sparsify ------------------------------------------------------------------------------------------------------


def sparsify_tensors() -> dict[str, Tensor]:
    return {
        "encoder.weight": normal(N, D, seed=1),
        "encoder.bias": normal(N, seed=2),
        "W_dec": normal(N, D, seed=3),
        "b_dec": normal(D, seed=4),
    }


def write_sparsify(
    root: Path, tensors: Mapping[str, Tensor] | None = None, *, place: str = "layers.10", **changes: Any
) -> Path:
    values = {
        "activation": "topk", "expansion_factor": 32, "normalize_decoder": True, "num_latents": N, "k": 5,
        "multi_topk": False, "skip_connection": False, "transcode": False, "d_in": D,
    }  # fmt: skip
    folder = root / "sae-llama-3-8b-32x" / place
    write_json(folder / "cfg.json", {**values, **changes})
    save_file(dict(tensors or sparsify_tensors()), folder / "sae.safetensors")
    return folder


# ---- files of torch.save -------------------------------------------------------------------------------------------


def save_pt(tensors: Mapping[str, Any], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(tensors), path)
    return path


def qwen_scope_tensors() -> dict[str, Tensor]:
    return {
        "W_enc": normal(WIDE, D, seed=1),
        "W_dec": normal(D, WIDE, seed=2),
        "b_enc": normal(WIDE, seed=3),
        "b_dec": normal(D, seed=4),
    }


def write_qwen_scope(
    root: Path, tensors: Mapping[str, Tensor] | None = None, *, repository: str = "SAE-Res-Qwen3-1.7B-Base-W1K-L0_50"
) -> Path:
    return save_pt(tensors or qwen_scope_tensors(), root / repository / "layer14.sae.pt")


def goodfire_tensors() -> dict[str, Tensor]:
    return {
        "encoder_linear.weight": normal(N, D, seed=1),
        "encoder_linear.bias": normal(N, seed=2),
        "decoder_linear.weight": normal(D, N, seed=3),
        "decoder_linear.bias": normal(D, seed=4),
    }


def write_goodfire(root: Path, tensors: Mapping[str, Tensor] | None = None) -> Path:
    name = "Llama-3.1-8B-Instruct-SAE-l19"
    return save_pt(tensors or goodfire_tensors(), root / name / f"{name}.pth")


def deepseek_tensors() -> dict[str, Tensor]:
    return {name.replace("_linear", ""): tensor.bfloat16() for name, tensor in goodfire_tensors().items()}


def write_deepseek(root: Path, tensors: Mapping[str, Tensor] | None = None) -> Path:
    name = "DeepSeek-R1-Distill-Llama-8B-SAE-l19"
    return save_pt(tensors or deepseek_tensors(), root / name / f"{name}.pt")


# ---- dictionary_learning -------------------------------------------------------------------------------------------


def dictionary_learning_tensors(dict_class: str) -> dict[str, Tensor]:
    """The state of one of the library's modules, without its integers (`write_dictionary_learning` adds k)."""
    linear = {"encoder.weight": normal(N, D, seed=1), "decoder.weight": normal(D, N, seed=2) / 2}
    matrices = {"W_enc": normal(D, N, seed=1), "W_dec": normal(N, D, seed=2) / 2}
    b_enc, b_dec, positive = normal(N, seed=3), normal(D, seed=4), normal(N, seed=5).abs()
    return {
        "AutoEncoder": {**linear, "encoder.bias": b_enc, "bias": b_dec},
        "AutoEncoderNew": {**linear, "encoder.bias": b_enc, "decoder.bias": b_dec},
        "GatedAutoEncoder": {
            **linear, "decoder_bias": b_dec, "gate_bias": b_enc, "mag_bias": normal(N, seed=6),
            "r_mag": normal(N, seed=7) / 2,
        },
        "AutoEncoderTopK": {**linear, "encoder.bias": b_enc, "b_dec": b_dec, "threshold": torch.tensor(0.5)},
        "BatchTopKSAE": {**linear, "encoder.bias": b_enc, "b_dec": b_dec, "threshold": torch.tensor(0.75)},
        "MatryoshkaBatchTopKSAE": {**matrices, "b_enc": b_enc, "b_dec": b_dec, "threshold": torch.tensor(0.75)},
        "JumpReluAutoEncoder": {**matrices, "b_enc": b_enc, "b_dec": b_dec, "threshold": positive},
    }[dict_class]  # fmt: skip


def write_dictionary_learning(
    root: Path, dict_class: str, tensors: Mapping[str, Tensor] | None = None, /, **changes: Any
) -> Path:
    """changes: settings of the trainer."""
    folder = root / "resid_post_layer_8" / "trainer_0"
    trainer = {
        "trainer_class": "Trainer", "dict_class": dict_class, "lr": 5e-5, "activation_dim": D, "dict_size": N,
        "device": "cuda:0", "layer": 8, "lm_name": "EleutherAI/pythia-160m-deduped",
        "submodule_name": "resid_post_layer_8",
    }  # fmt: skip
    integers: dict[str, Tensor] = {}
    if "TopK" in dict_class:
        trainer["k"], integers["k"] = 4, torch.tensor(4, dtype=torch.int)
    if dict_class.startswith("Matryoshka"):
        integers["group_sizes"] = torch.tensor([N // 4, N - N // 4])
    buffer = {"d_submodule": D, "io": "out", "n_ctxs": 244, "ctx_len": 1024, "refresh_batch_size": 32}
    write_json(folder / "config.json", {"trainer": {**trainer, **changes}, "buffer": buffer})
    save_pt({**(tensors or dictionary_learning_tensors(dict_class)), **integers}, folder / "ae.pt")
    return folder


def gated_dictionary_tensors() -> dict[str, Tensor]:
    return dictionary_learning_tensors("GatedAutoEncoder")


def batch_topk_dictionary_tensors() -> dict[str, Tensor]:
    return dictionary_learning_tensors("BatchTopKSAE")


def write_gated_dictionary(root: Path, tensors: Mapping[str, Tensor] | None = None) -> Path:
    return write_dictionary_learning(root, "GatedAutoEncoder", tensors)


def write_batch_topk_dictionary(root: Path, tensors: Mapping[str, Tensor] | None = None) -> Path:
    return write_dictionary_learning(root, "BatchTopKSAE", tensors)


def _saelens(tensors: Any, write: Any) -> Builder:
    return Builder(
        "saelens", tensors, write, "sae_weights.safetensors", "cfg.json", "gemma-2-2b", 12, decoder=frozenset({"W_dec"})
    )


def _dictionary(tensors: Any, write: Any) -> Builder:
    model, decoder = "EleutherAI/pythia-160m-deduped", frozenset({"decoder.weight"})
    return Builder(
        "dictionary_learning", tensors, write, "ae.pt", "config.json", model, 8, decoder=decoder, damaged="PyTorch"
    )


_LIBRARY_BUILDERS = [
    _saelens(saelens_gated_tensors, write_saelens_gated),
    _saelens(saelens_jumprelu_tensors, write_saelens_jumprelu),
    _saelens(saelens_topk_tensors, write_saelens_topk),
    Builder(
        "sparsify", sparsify_tensors, write_sparsify, "sae.safetensors", "cfg.json", "llama-3-8b", 10,
        decoder=frozenset({"W_dec"}),
    ),
    Builder(
        "qwen_scope", qwen_scope_tensors, write_qwen_scope, "", None, "Qwen/Qwen3-1.7B-Base", 14,
        decoder=frozenset({"W_dec"}), damaged="PyTorch",
    ),
    Builder(
        "goodfire", goodfire_tensors, write_goodfire, "", None, "meta-llama/Llama-3.1-8B-Instruct", 19,
        decoder=frozenset({"decoder_linear.weight"}), damaged="PyTorch",
    ),
    Builder(
        "goodfire", deepseek_tensors, write_deepseek, "", None, "deepseek-ai/DeepSeek-R1-Distill-Llama-8B", 19,
        decoder=frozenset({"decoder.weight"}), damaged="PyTorch",
    ),
    _dictionary(gated_dictionary_tensors, write_gated_dictionary),
    _dictionary(batch_topk_dictionary_tensors, write_batch_topk_dictionary),
]  # fmt: skip

BUILDERS = [*SUITE_BUILDERS, *_LIBRARY_BUILDERS]  # of every format
