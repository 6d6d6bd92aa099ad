"""SAELens' native layout: `cfg.json` and `sae_weights.safetensors`. Read and written; ours is written in this layout.

Tensors: W_enc [d_in, d_sae], b_enc, W_dec [d_sae, d_in], b_dec; threshold [d_sae] for jumprelu; b_gate, b_mag and r_mag
instead of b_enc for gated; topk_threshold (a number) for batchtopk and matryoshka_batchtopk, which SAELens has in
checkpoints of a training only: what it saves at the end is a jumprelu. Configurations of version 6 keep model and hook
under `metadata`; older ones have them at the top level, under older names.

`null` is as good as nothing. Settings that other architectures left over (`k`, a factor that is folded already) are
passed over, as SAELens does; tensors of other architectures are refused, and so are transcoders of any age.

What SAELens folds into the weights as it loads (`norm_scaling_factor`) or applies at each token (decoder norms,
`scaling_factor`) is in the scales here; the weights stay the file's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from saelex.errors import InputError
from saelex.files import expanded, replacing, replacing_folder
from saelex.reading.json_object import JsonObject, read_json
from saelex.reading.tensors import read_safetensors
from saelex.sae.activations import JumpReLU, ReLU, TopK
from saelex.sae.config import SaeConfig
from saelex.sae.formats.common import (
    SaeFormat,
    Wanted,
    layer_of_hook,
    present,
    refuse_left_over,
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
_SHARED = ("W_enc", "W_dec", "b_dec", "scaling_factor", "finetuning_scaling_factor")
_OWN = {  # tensors of each architecture besides those
    "standard": ("b_enc",),
    "jumprelu": ("b_enc", "threshold", "log_threshold"),
    "gated": ("b_gate", "b_mag", "r_mag"),
    "topk": ("b_enc",),
    "batchtopk": ("b_enc", "topk_threshold"),
    "matryoshka_batchtopk": ("b_enc", "topk_threshold"),
}
_ELSEWHERE = ("hook_name_out", "hf_hook_name_out", "hook_point_out", "out_hook_point")  # of transcoders, old and new
_SHORTEST = 1e-8  # SAELens' own, for such a norm


def read_saelens(folder: Path, wanted: Wanted) -> SaeParts:
    """The SAE in the folder; see the module's text for the architectures.

    With the factor s of the input and the norms n of the decoder's rows, SAELens computes
    pre = (n / s) ((s x - b_dec) W_enc + b_enc) and x^ = (z / n) W_dec + b_dec / s; without the norms n / s is 1.
    """
    path, weights = folder / _CONFIG, folder / _WEIGHTS
    values = _modern(read_json(path))
    _refuse_unknown(values)
    tensors = read_safetensors(weights)
    d_in, d_sae = values.whole("d_in", least=1), values.whole("d_sae", least=1)
    (W_enc,) = take(tensors, ["W_enc"], weights)
    (b_dec,) = vectors(tensors, ["b_dec"], d_in, weights)
    W_dec = take(tensors, ["W_dec"], weights)[0] if wanted.decoder else None
    gate = _gate(values, tensors, d_sae, path, weights)
    refuse_left_over(tensors, (*_SHARED, *_OWN[values["architecture"]]), weights)
    factor, norm = _input_norm(values, path)
    lengths = torch.ones(d_sae)
    if values.flag_or("rescale_acts_by_decoder_norm", False):
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
        apply_b_dec_to_input=values.flag_or("apply_b_dec_to_input", True),
        encoder_scale=_unless_one(magnitude * lengths * factor),
        decoder_scale=_unless_one(_finetuned(values, tensors, d_sae, path, weights) / (lengths * factor)),
        input_norm=norm,
    )


def save_saelens(sae: SaeParts, folder: str | Path) -> None:
    """Write the SAE into a folder, whole or not at all, in place of an older one; what else is there stays.

    Raises InputError for an SAE without its decoder.
    """
    _decoder(sae)  # asked before anything is made
    folder = expanded(folder)
    if (folder / _CONFIG).exists():  # of two files that belong together both change, or none
        with replacing_folder(folder, keep_others=True) as made:
            _write(sae, made / _WEIGHTS, made / _CONFIG)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / _CONFIG) as config, replacing(folder / _WEIGHTS) as weights:  # the inner one goes first
            _write(sae, weights, config)


def _decoder(sae: SaeParts) -> Tensor:
    if sae.W_dec is None:
        raise InputError(f"the SAE {sae.config.source or ''} was loaded without its decoder; load it with decoder=True")
    return sae.W_dec if sae.decoder_scale is None else sae.W_dec * sae.decoder_scale[:, None]


def _write(sae: SaeParts, weights: Path, config: Path) -> None:
    """Write the SAE's two files.

    SAELens has no scales beside the weights: they are folded into them, in float32 or wider, since a half-precision
    product would be another SAE. Without scales the weights keep their dtype; biases and thresholds are float32.
    """
    W_dec = _decoder(sae)
    W_enc: Tensor = sae.W_enc if sae.encoder_scale is None else sae.W_enc * sae.encoder_scale
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


def _modern(values: JsonObject) -> JsonObject:
    """A configuration of before SAELens 6 in the form of 6: model and hook under `metadata`, topk an architecture."""
    modern = JsonObject(values, values.where)
    architecture = values.text_or("architecture", "standard")
    activation = values.text_or("activation_fn", None) or values.text_or("activation_fn_str", "relu")
    if activation == "topk" and architecture in ("standard", "topk"):
        kwargs: Mapping[str, Any] = values.object_or_none("activation_fn_kwargs") or {}
        modern |= {"architecture": "topk", "k": values.get("k", kwargs.get("k"))}
    elif activation == "relu" or activation == architecture:
        modern["architecture"] = architecture
    else:
        raise InputError(f"{values.where}: the activation {activation!r} of a {architecture} SAE is not read here")
    if values.get("metadata") is None:
        modern["metadata"] = {
            "model_name": values.get("model_name"),
            "hook_name": values.get("hook_name") or values.get("hook_point"),
            "prepend_bos": values.get("prepend_bos"),
            "context_size": values.get("context_size"),
            "neuronpedia_id": values.get("neuronpedia_id"),
        }
    return modern


def _refuse_unknown(values: JsonObject) -> None:
    """Raises InputError for a transcoder of any age, and for settings that cannot be followed."""
    metadata, architecture = values.object("metadata"), values.text("architecture")
    read = metadata.text_or("hook_name", None), metadata.text_or("hf_hook_name", None)
    written = [place for part in (values, metadata) for name in _ELSEWHERE if (place := part.text_or(name, None))]
    d_out = values.whole_or("d_out", values.whole("d_in", least=1))
    if (
        "transcoder" in architecture
        or values.flag_or("is_transcoder", False)
        or any(place not in read for place in written)
        or d_out != values["d_in"]
    ):
        raise InputError(f"{values.where}: describes a transcoder, not an autoencoder")
    if architecture not in _OWN:
        raise values.wrong("architecture", f"one that is read here ({', '.join(_OWN)})")
    if values.text_or("reshape_activations", "none") not in ("none", "hook_z"):
        raise values.wrong("reshape_activations", "none or hook_z")
    if values.flag_or("rescale_acts_by_decoder_norm", False) and architecture not in _RESCALED:
        raise values.wrong("rescale_acts_by_decoder_norm", f"false, as {architecture} SAEs have it")


def _config(values: JsonObject, d_in: int, d_sae: int, W_enc: Tensor, wanted: Wanted) -> SaeConfig:
    metadata = values.object("metadata")
    hook_name = metadata.text_or("hook_name", None) or metadata.text_or("hf_hook_name", None)
    elsewhere = ("model_name", "hook_name", "sae_lens_version")  # of this configuration itself, or of its layout
    return SaeConfig(
        d_in,
        d_sae,
        model_name=metadata.text_or("model_name", None),
        layer=layer_of_hook(hook_name),
        hook_name=hook_name,
        source=wanted.source,
        metadata={name: value for name, value in metadata.items() if name not in elsewhere},
    )


def _gate(values: JsonObject, tensors: Mapping[str, Tensor], d_sae: int, path: Path, weights: Path) -> Gate:
    architecture = values["architecture"]
    if architecture == "gated":
        return gated(*vectors(tensors, ["b_gate", "b_mag", "r_mag"], d_sae, weights))
    (b_enc,) = vectors(tensors, ["b_enc"], d_sae, weights)
    if architecture == "topk":
        return topk(b_enc, values.whole("k", least=1), path)
    if architecture == "jumprelu":
        if "log_threshold" in tensors:  # checkpoints of a training, once
            if "threshold" in tensors:
                raise InputError(f"{weights}: holds threshold and log_threshold; which of them counts is not said")
            return Gate(b_enc, JumpReLU(vectors(tensors, ["log_threshold"], d_sae, weights)[0].exp()))
        return Gate(b_enc, JumpReLU(vectors(tensors, ["threshold"], d_sae, weights)[0]))
    if architecture == "standard":
        return Gate(b_enc, ReLU())
    return batch_topk(b_enc, tensors, "topk_threshold", weights)


def _input_norm(values: JsonObject, path: Path) -> tuple[float, TokenNorm | None]:
    """The factor of all states, 1 for most, and the norm of each."""
    kind = values.get("normalize_activations")
    if isinstance(kind, bool):  # configurations of 2024
        kind = "expected_average_only_in" if kind else "none"
    else:
        kind = values.text_or("normalize_activations", "none")
    if kind in _TOKEN_NORMS:
        return 1.0, TokenNorm(_TOKEN_NORMS[kind])
    if kind == "none":
        return 1.0, None
    if kind not in _FACTORS:
        raise values.wrong("normalize_activations", f"one of none, {', '.join([*_TOKEN_NORMS, *_FACTORS])}")
    if values.get(_FACTORS[kind]) is None:
        raise InputError(
            f"{path}: normalize_activations is {kind!r} without a recorded factor; "
            "fold it with SAELens (fold_activation_norm_scaling_factor) and save the SAE again"
        )
    factor = values.number(_FACTORS[kind])
    if not factor > 0:
        raise InputError(f"{path}: {_FACTORS[kind]} must be positive, not {factor}")
    return float(factor), None


def _finetuned(values: JsonObject, tensors: Mapping[str, Tensor], d_sae: int, path: Path, weights: Path) -> Tensor:
    """What latents were found to lack in size once the SAE was trained, [d_sae]; a factor of the decoder only."""
    names = [name for name in ("scaling_factor", "finetuning_scaling_factor") if name in tensors]
    finetuned = values.flag_or("finetuning_scaling_factor", False)
    if len(names) > 1 or finetuned > len(names):
        held = " and ".join(names) or "no scaling_factor"
        raise InputError(f"{weights}: holds {held}, where finetuning_scaling_factor in {path.name} is {finetuned}")
    if not names:
        return torch.ones(d_sae)
    (factors,) = vectors(tensors, names[:1], d_sae, weights)
    if not finetuned and not bool((factors == 1).all()):
        raise InputError(f"{weights}: holds {names[0]}, but finetuning_scaling_factor in {path.name} is not true")
    return factors


def _unless_one(scale: Tensor) -> Tensor | None:
    return None if bool((scale == 1).all()) else scale


SAELENS = SaeFormat("saelens", files=(_CONFIG, _WEIGHTS), required=(_CONFIG, _WEIGHTS), read=read_saelens)
