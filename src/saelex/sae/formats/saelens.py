"""SAELens' native layout: `cfg.json` and `sae_weights.safetensors`. Read and written; ours is written in this layout.

Tensors: W_enc [d_in, d_sae], b_enc, W_dec [d_sae, d_in], b_dec; threshold [d_sae] for jumprelu; b_gate, b_mag and r_mag
instead of b_enc for gated; topk_threshold (a number) for batchtopk and matryoshka_batchtopk, which SAELens has in
checkpoints of a training only: what it saves at the end is a jumprelu. Configurations of version 6 keep model and hook
under `metadata`; older ones have them at the top level, under older names.

What SAELens folds into the weights as it loads (`norm_scaling_factor`) or applies at each token (decoder norms,
`scaling_factor`) is in the scales here; the weights stay the file's own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from saelex.errors import InputError
from saelex.files import expanded, read_json, replacing, replacing_folder
from saelex.sae.activations import JumpReLU, ReLU, TopK
from saelex.sae.config import SaeConfig
from saelex.sae.formats.common import (
    SaeFormat,
    Wanted,
    layer_of_hook,
    number,
    present,
    read_safetensors,
    setting,
    take,
)
from saelex.sae.formats.decoder_norms import decoder_norms
from saelex.sae.formats.gates import Gate, batch_topk, gated, topk, vectors
from saelex.sae.normalisation import Kind, TokenNorm
from saelex.sae.parts import SaeParts

_CONFIG = "cfg.json"
_WEIGHTS = "sae_weights.safetensors"
_LAYOUT = "6.0.0"  # SAELens' version of this configuration: where none is given, it takes it for an older one
_TOKEN_NORMS: dict[str, Kind] = {"layer_norm": "layer_norm", "constant_norm_rescale": "constant_norm"}
_FACTORS = {  # what multiplies the input, and the setting that says by how much
    "expected_average_only_in": "norm_scaling_factor",
    "constant_scalar_rescale": "activation_normalization_factor",
}
_RESCALED = ("topk", "batchtopk", "matryoshka_batchtopk")  # may weigh latents by the norms of the decoder's rows
_SHORTEST = 1e-8  # SAELens' own, for such a norm


def read_saelens(folder: Path, wanted: Wanted) -> SaeParts:
    """The SAE in the folder; see the module's text for the architectures.

    With the factor s of the input and the norms n of the decoder's rows, SAELens computes
    pre = (n / s) ((s x - b_dec) W_enc + b_enc) and x^ = (z / n) W_dec + b_dec / s; without the norms n / s is 1.
    """
    path, weights = folder / _CONFIG, folder / _WEIGHTS
    values = _modern(read_json(path))
    tensors = read_safetensors(weights)
    d_in, d_sae = int(number(values, "d_in", path)), int(number(values, "d_sae", path))
    (W_enc,) = take(tensors, ["W_enc"], weights)
    (b_dec,) = vectors(tensors, ["b_dec"], d_in, weights)
    W_dec = take(tensors, ["W_dec"], weights)[0] if wanted.decoder else None
    gate = _gate(values, tensors, d_sae, path, weights)
    factor, norm = _input_norm(values, path)
    lengths = torch.ones(d_sae)
    if values["architecture"] in _RESCALED and values.get("rescale_acts_by_decoder_norm"):
        present(tensors, ["W_dec"], weights)
        lengths = decoder_norms(weights, "W_dec", (d_sae, d_in), latents=0).clamp_min(_SHORTEST) / factor
        if isinstance(gate.activation, JumpReLU):  # learnt on the states as trained on, beside norms without s
            gate = gate._replace(activation=JumpReLU(gate.activation.threshold / factor))
    magnitude = torch.ones(d_sae) if gate.scale is None else gate.scale
    return SaeParts(
        W_enc,
        gate.bias * lengths,
        W_dec,
        b_dec / factor,
        gate.activation,
        _config(values, d_in, d_sae, W_enc, wanted),
        apply_b_dec_to_input=bool(values["apply_b_dec_to_input"]),
        encoder_scale=_unless_one(magnitude * lengths * factor),
        decoder_scale=_unless_one(_finetuned(values, tensors, d_sae, path, weights) / (lengths * factor)),
        input_norm=norm,
    )


def save_saelens(sae: SaeParts, folder: str | Path) -> None:
    """Write the SAE into a folder, whole or not at all, in place of an older one; what else is there stays.

    Raises InputError as `_write` does.
    """
    folder = expanded(folder)
    if (folder / _CONFIG).exists():  # of two files that belong together both change, or none
        with replacing_folder(folder, keep_others=True) as made:
            _write(sae, made / _WEIGHTS, made / _CONFIG)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / _CONFIG) as config, replacing(folder / _WEIGHTS) as weights:  # the inner one goes first
            _write(sae, weights, config)


def _write(sae: SaeParts, weights: Path, config: Path) -> None:
    """Write the SAE's two files.

    SAELens has no scales beside the weights: they are folded into them, in float32 or wider, since a half-precision
    product would be another SAE. Without scales the weights keep their dtype; biases and thresholds are float32.
    Raises InputError for an SAE without its decoder.
    """
    if sae.W_dec is None:
        raise InputError(f"the SAE {sae.config.source or ''} was loaded without its decoder; load it with decoder=True")
    W_enc: Tensor = sae.W_enc if sae.encoder_scale is None else sae.W_enc * sae.encoder_scale
    W_dec: Tensor = sae.W_dec if sae.decoder_scale is None else sae.W_dec * sae.decoder_scale[:, None]
    dtype = torch.promote_types(W_enc.dtype, W_dec.dtype)
    tensors = {"W_enc": W_enc.to(dtype), "b_enc": sae.b_enc, "W_dec": W_dec.to(dtype), "b_dec": sae.b_dec}
    if isinstance(sae.activation, JumpReLU):
        tensors["threshold"] = sae.activation.threshold.expand(sae.config.n_latents)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, weights)
    values = _written_config(sae, str(dtype).removeprefix("torch."))
    config.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _written_config(sae: SaeParts, dtype: str) -> dict[str, Any]:
    norms = {ours: theirs for theirs, ours in _TOKEN_NORMS.items()}
    values: dict[str, Any] = {
        "architecture": {ReLU: "standard", JumpReLU: "jumprelu", TopK: "topk"}[type(sae.activation)],
        "d_in": sae.config.d_model,
        "d_sae": sae.config.n_latents,
        "dtype": dtype,
        "device": "cpu",
        "apply_b_dec_to_input": sae.apply_b_dec_to_input,
        "normalize_activations": "none" if sae.input_norm is None else norms[sae.input_norm.kind],
        "reshape_activations": "none",
        "metadata": {
            **sae.config.metadata,
            "model_name": sae.config.model_name,
            "hook_name": sae.config.hook_name,
            "sae_lens_version": _LAYOUT,
        },
    }
    if isinstance(sae.activation, TopK):
        values |= {"k": sae.activation.k, "rescale_acts_by_decoder_norm": False}
    return values


def _modern(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration of before SAELens 6 in the form of 6: model and hook under `metadata`, topk an architecture."""
    if isinstance(values.get("metadata"), dict):
        return {"apply_b_dec_to_input": True, **values}
    old = dict(values)
    old["metadata"] = {
        "model_name": old.get("model_name"),
        "hook_name": old.get("hook_name") or old.get("hook_point"),
        "prepend_bos": old.get("prepend_bos"),
        "context_size": old.get("context_size"),
        "neuronpedia_id": old.get("neuronpedia_id"),
    }
    old.setdefault("apply_b_dec_to_input", True)
    activation = old.get("activation_fn") or old.get("activation_fn_str") or "relu"
    if activation == "topk":
        old["architecture"] = "topk"
        old.setdefault("k", (old.get("activation_fn_kwargs") or {}).get("k"))
    elif activation not in ("relu", "jumprelu"):
        old["architecture"] = f"activation {activation}"
    old.setdefault("architecture", "standard")
    return old


def _config(values: dict[str, Any], d_in: int, d_sae: int, W_enc: Tensor, wanted: Wanted) -> SaeConfig:
    metadata = values["metadata"]
    hook_name = metadata.get("hook_name") or metadata.get("hf_hook_name")
    elsewhere = ("model_name", "hook_name", "sae_lens_version")  # of this configuration itself, or of its layout
    return SaeConfig(
        d_in,
        d_sae,
        model_name=metadata.get("model_name"),
        layer=layer_of_hook(hook_name),
        hook_name=hook_name,
        source=wanted.source,
        metadata={name: value for name, value in metadata.items() if name not in elsewhere},
    )


def _gate(values: dict[str, Any], tensors: dict[str, Tensor], d_sae: int, path: Path, weights: Path) -> Gate:
    architecture = setting(values, "architecture", path)
    if architecture == "gated":
        return gated(*vectors(tensors, ["b_gate", "b_mag", "r_mag"], d_sae, weights))
    if architecture not in ("standard", "jumprelu", *_RESCALED):
        raise InputError(f"{path}: architecture {architecture!r} is not one that saelex reads (standard, gated, ...)")
    (b_enc,) = vectors(tensors, ["b_enc"], d_sae, weights)
    if architecture == "topk":
        return topk(b_enc, setting(values, "k", path), path)
    if architecture == "jumprelu":
        if "log_threshold" in tensors:  # checkpoints of a training, once
            return Gate(b_enc, JumpReLU(vectors(tensors, ["log_threshold"], d_sae, weights)[0].exp()))
        return Gate(b_enc, JumpReLU(vectors(tensors, ["threshold"], d_sae, weights)[0]))
    if architecture == "standard":
        return Gate(b_enc, ReLU())
    return batch_topk(b_enc, tensors, "topk_threshold", weights)


def _input_norm(values: dict[str, Any], path: Path) -> tuple[float, TokenNorm | None]:
    """The factor of all states, 1 for most, and the norm of each."""
    kind = values.get("normalize_activations") or "none"
    if kind is True:  # configurations of 2024
        kind = "expected_average_only_in"
    if kind in _TOKEN_NORMS:
        return 1.0, TokenNorm(_TOKEN_NORMS[kind])
    if kind == "none":
        return 1.0, None
    if values.get(_FACTORS.get(kind, "")) is None:
        raise InputError(
            f"{path}: normalize_activations is {kind!r} without a recorded factor; "
            "fold it with SAELens (fold_activation_norm_scaling_factor) and save the SAE again"
        )
    factor = number(values, _FACTORS[kind], path)
    if not factor > 0:
        raise InputError(f"{path}: {_FACTORS[kind]} must be positive, not {factor}")
    return float(factor), None


def _finetuned(values: dict[str, Any], tensors: dict[str, Tensor], d_sae: int, path: Path, weights: Path) -> Tensor:
    """What latents were found to lack in size once the SAE was trained, [d_sae]; a factor of the decoder only."""
    names = [name for name in ("scaling_factor", "finetuning_scaling_factor") if name in tensors]
    if not names:
        return torch.ones(d_sae)
    (factors,) = vectors(tensors, names[:1], d_sae, weights)
    if not values.get("finetuning_scaling_factor") and not bool((factors == 1).all()):
        raise InputError(f"{weights}: holds {names[0]}, but finetuning_scaling_factor in {path.name} is not true")
    return factors


def _unless_one(scale: Tensor) -> Tensor | None:
    return None if bool((scale == 1).all()) else scale


SAELENS = SaeFormat("saelens", files=(_CONFIG, _WEIGHTS), required=(_CONFIG, _WEIGHTS), read=read_saelens)
