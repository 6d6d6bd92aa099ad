"""saprmarks/dictionary_learning: `ae.pt` and `config.json`, the state of one of that library's modules.

`config.json` has `trainer` (dict_class, layer, lm_name, submodule_name, k) and `buffer` (ctx_len). Modules and names:

- AutoEncoder: encoder.weight [n_latents, d_model], encoder.bias, decoder.weight [d_model, n_latents], bias
- AutoEncoderNew: the same with decoder.bias, which is not subtracted from the state
- GatedAutoEncoder: encoder.weight, gate_bias, mag_bias, r_mag, decoder.weight, decoder_bias
- AutoEncoderTopK, BatchTopKSAE: encoder.weight, encoder.bias, decoder.weight, b_dec, k, threshold (a number)
- MatryoshkaBatchTopKSAE: W_enc [d_model, n_latents], b_enc, W_dec [n_latents, d_model], b_dec, k, threshold (a number)
- JumpReluAutoEncoder: W_enc, b_enc, W_dec, b_dec, threshold [n_latents]; b_dec is not subtracted from the state

The latents are those of each module's `encode` on the weights as they are stored. (Its `AutoEncoder.from_pretrained`
may make the decoder's columns unit vectors, which multiplies the latents of April-update SAEs by the columns' lengths.)
BatchTopK compares with the threshold it learnt; AutoEncoderTopK has one, too, but keeps the k largest.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from saelex.errors import InputError
from saelex.reading.json_object import JsonObject, read_json
from saelex.reading.tensors import read_pt
from saelex.sae.activations import JumpReLU, ReLU
from saelex.sae.config import SaeConfig
from saelex.sae.formats.common import SaeFormat, Wanted, matrix_shape, present, take, transposed
from saelex.sae.formats.gates import Gate, batch_topk, gated, topk, vectors
from saelex.sae.parts import SaeParts

_CONFIG = "config.json"
_WEIGHTS = "ae.pt"


class _Module(NamedTuple):
    """One of the library's classes."""

    b_dec: str
    gate: str
    subtracts: bool = True  # b_dec from the state


_MODULES = {
    "AutoEncoder": _Module("bias", "relu"),
    "AutoEncoderNew": _Module("decoder.bias", "relu", subtracts=False),
    "GatedAutoEncoder": _Module("decoder_bias", "gated"),
    "AutoEncoderTopK": _Module("b_dec", "topk"),
    "BatchTopKSAE": _Module("b_dec", "batch_topk"),
    "MatryoshkaBatchTopKSAE": _Module("b_dec", "batch_topk"),
    "JumpReluAutoEncoder": _Module("b_dec", "jumprelu", subtracts=False),
}
_HOOKS = {"resid_post": "hook_resid_post", "mlp_out": "hook_mlp_out", "attention_out": "hook_attn_out"}


def read_dictionary_learning(folder: Path, wanted: Wanted) -> SaeParts:
    """The SAE in the folder; see the module's text for the layouts."""
    path, weights = folder / _CONFIG, folder / _WEIGHTS
    values = read_json(path)
    trainer = values.object("trainer")
    buffer: Mapping[str, Any] = values.object_or_none("buffer") or {}
    name = trainer.text("dict_class")
    if name not in _MODULES:
        raise InputError(f"{path}: dict_class {name!r} is not one of {', '.join(_MODULES)}")
    module = _MODULES[name]
    tensors = read_pt(weights)
    W_enc, W_dec = _matrices(tensors, weights, wanted)
    d_model, n_latents = matrix_shape(W_enc, "the encoder", weights)
    (b_dec,) = vectors(tensors, [module.b_dec], d_model, weights)
    gate = _gate(module, tensors, trainer, n_latents, path, weights)
    layer, hook_name = _place(trainer)
    config = SaeConfig(
        d_model,
        n_latents,
        model_name=trainer.text_or("lm_name", None),
        layer=layer,
        hook_name=hook_name,
        source=wanted.source,
        metadata={"context_size": buffer["ctx_len"]} if "ctx_len" in buffer else {},
    )
    return SaeParts(
        W_enc,
        gate.bias,
        W_dec,
        b_dec,
        gate.activation,
        config,
        apply_b_dec_to_input=module.subtracts,
        encoder_scale=gate.scale,
    )


def _matrices(tensors: Mapping[str, Tensor], path: Path, wanted: Wanted) -> tuple[Tensor, Tensor | None]:
    """W_enc [d_model, n_latents] and W_dec [n_latents, d_model]: two torch.nn.Linear, or matrices of those shapes."""
    if "W_enc" in tensors:
        return take(tensors, ["W_enc"], path)[0], take(tensors, ["W_dec"], path)[0] if wanted.decoder else None
    W_dec = transposed(tensors, "decoder.weight", path) if wanted.decoder else None
    return transposed(tensors, "encoder.weight", path), W_dec


def _gate(
    module: _Module, tensors: Mapping[str, Tensor], trainer: JsonObject, n_latents: int, path: Path, weights: Path
) -> Gate:
    if module.gate == "gated":
        return gated(*vectors(tensors, ["gate_bias", "mag_bias", "r_mag"], n_latents, weights))
    (b_enc,) = vectors(tensors, ["b_enc" if "b_enc" in tensors else "encoder.bias"], n_latents, weights)
    if module.gate == "batch_topk":
        return batch_topk(b_enc, tensors, "threshold", weights)
    if module.gate == "jumprelu":
        return Gate(b_enc, JumpReLU(vectors(tensors, ["threshold"], n_latents, weights)[0]))
    if module.gate == "relu":
        return Gate(b_enc, ReLU())
    if trainer.get("k") is not None:
        return topk(b_enc, trainer["k"], path)
    present(tensors, ["k"], weights)
    if tensors["k"].numel() != 1:
        raise InputError(f"{weights}: k is of the shape {list(tensors['k'].shape)}, not a number of latents per token")
    return topk(b_enc, tensors["k"].item(), weights)


def _place(trainer: JsonObject) -> tuple[int | None, str | None]:
    """Layer and hook: the residual stream after a block, unless the submodule's name says another place."""
    named = trainer.text_or("submodule_name", None)
    layer, submodule = trainer.whole_or("layer", None), named or "resid_post"
    hooks = [hook for start, hook in _HOOKS.items() if submodule.startswith(start)]
    if layer is None or not hooks:
        return None, named
    return layer if submodule.startswith("resid_post") else None, f"blocks.{layer}.{hooks[0]}"


DICTIONARY_LEARNING = SaeFormat(
    "dictionary_learning", files=(_CONFIG, _WEIGHTS), required=(_CONFIG, _WEIGHTS), read=read_dictionary_learning
)
