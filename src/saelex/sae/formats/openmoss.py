"""OpenMOSS' newer layout (lm_saes from 2025, llamascopium): `config.json` and `sae_weights.safetensors`.

Llama-Scope-R1-Distill has torch.nn.Linear's names (encoder.weight [n_latents, d_model], decoder.weight [d_model,
n_latents], log_jumprelu_threshold [n_latents]); today's library W_E [d_model, n_latents], b_E, W_D [n_latents,
d_model], b_D and activation_function.log_jumprelu_threshold. Both keep the states' mean norm as
`dataset_average_activation_norm.<hook>`.

Such an SAE was trained on states scaled to a mean norm of sqrt(d_model), and its gate compares, with
`sparsity_include_decoder_norm`, not the pre-activation but what the latent writes: the pre-activation times the length
of its decoder vector. That is what a latent is here, for every gate (`in_gate_space`). With the activation scale "raw",
the default, it has the scale of the model's own states, as in Llama Scope; "normalised" leaves it in the scale of the
training. Thresholds were learned on the scaled states and are compared there: OpenMOSS' own folding of the norm
(`standardize_parameters_of_dataset_norm`) leaves them as they are, and so moves the gate.

Everything that is not an autoencoder of one place is refused: crosscoders, cross-layer transcoders, lorsa, transcoders;
and BatchTopK, which records no threshold.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from saelex.errors import InputError
from saelex.reading.json_object import JsonObject, read_json
from saelex.reading.regular import is_listed
from saelex.reading.tensors import read_safetensors
from saelex.sae.activations import Activation, JumpReLU, ReLU
from saelex.sae.config import SaeConfig
from saelex.sae.formats.common import (
    RAW,
    SaeFormat,
    Wanted,
    layer_of_hook,
    matrix_shape,
    present,
    take,
)
from saelex.sae.formats.decoder_norms import decoder_norms
from saelex.sae.formats.gates import topk, vectors
from saelex.sae.normalisation import TokenNorm
from saelex.sae.parts import SaeParts

NORMALISED = "normalised"

_CONFIG = "config.json"
_MODEL = "lm_config.json"
_WEIGHTS = "sae_weights.safetensors"
_NORM = "dataset_average_activation_norm"
_SHORTEST = 1e-30  # a latent that writes nothing keeps a positive scale and never fires


class Layout(NamedTuple):
    """Names of the tensors, and whether the matrices have a row for each output (torch.nn.Linear)."""

    W_enc: str
    b_enc: str
    W_dec: str
    b_dec: str
    log_threshold: str
    by_outputs: bool


LINEAR = Layout("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias", "log_jumprelu_threshold", True)
_OWN = Layout("W_E", "b_E", "W_D", "b_D", "activation_function.log_jumprelu_threshold", False)


class Weights(NamedTuple):
    """An SAE's tensors, the matrices as the file has them; W_dec None where only encoding is wanted."""

    W_enc: Tensor  # [d_model, n_latents]
    b_enc: Tensor  # float32, as b_dec
    W_dec: Tensor | None  # [n_latents, d_model]
    b_dec: Tensor
    norms: Tensor  # float32 [n_latents], of W_dec's rows; ones where the gate does not use them


def read_openmoss(folder: Path, wanted: Wanted) -> SaeParts:
    """The SAE in the folder; see the module's text for layout and scale."""
    path, weights = folder / _CONFIG, folder / _WEIGHTS
    values = read_json(path)
    refuse_unknown(values, path, {"norm_activation": ("dataset-wise", "token-wise", "inference")})
    tensors = read_safetensors(weights)
    layout = max(LINEAR, _OWN, key=lambda layout: len(tensors.keys() & set(layout[:4])))
    d_model = values.whole("d_model", least=1)
    shape = d_model, int(d_model * values.number("expansion_factor"))
    parts = read_weights(tensors, weights, layout, shape, values, wanted)
    hook_name = values.text("hook_point_in")
    norm = 1.0
    if values["norm_activation"] == "dataset-wise":
        (mean_norm,) = take(tensors, [f"{_NORM}.{hook_name}"], weights)
        if mean_norm.numel() != 1 or not bool(mean_norm > 0):
            raise InputError(f"{weights}: {_NORM}.{hook_name} is {mean_norm.tolist()}, not a norm; download it again")
        norm = math.sqrt(d_model) / float(mean_norm)
    gate: Activation = ReLU()
    if values["act_fn"] == "topk":
        gate = topk(parts.b_enc, values.get("top_k"), path).activation
    if values["act_fn"] == "jumprelu":
        (log_threshold,) = vectors(tensors, [layout.log_threshold], shape[1], weights)
        gate = JumpReLU(log_threshold.double().exp() / norm)
    return in_gate_space(
        parts,
        gate,
        SaeConfig(
            *shape,
            model_name=_model_name(folder, wanted.source),
            layer=layer_of_hook(hook_name),
            hook_name=hook_name,
            source=wanted.source,
            metadata={"activation_scale": wanted.activation_scale},
        ),
        read=norm,
        rebuilt=norm,
        apply_b_dec_to_input=values.flag_or("apply_decoder_bias_to_pre_encoder", False),
        input_norm=TokenNorm("constant_norm") if values["norm_activation"] == "token-wise" else None,
    )


def refuse_unknown(values: JsonObject, path: Path, known: Mapping[str, tuple[Any, ...]]) -> None:
    """Raises InputError for a setting of either layout that cannot be followed."""
    for name, accepted in {
        "sae_type": ("sae", None),
        "act_fn": ("jumprelu", "relu", "topk"),
        "use_glu_encoder": (False, None),
        "sparsity_include_decoder_norm": (True, False),
        **known,
    }.items():
        if not any(_same(values.get(name), value) for value in accepted):
            raise InputError(
                f"{path}: {name} is {values.get(name)!r:.60}, which this reader cannot follow; it knows "
                f"{', '.join(repr(value) for value in accepted if value is not None)}"
            )
    read = values.text("hook_point_in")
    if (rebuilt := values.text_or("hook_point_out", read)) != read:
        raise InputError(f"{path}: reads {read} and writes {rebuilt}: a transcoder, not an autoencoder")


def _same(value: Any, accepted: Any) -> bool:
    return type(value) is type(accepted) and bool(value == accepted)  # 1 is not true


def read_weights(
    tensors: Mapping[str, Tensor],
    path: Path,
    layout: Layout,
    shape: tuple[int, int],
    values: JsonObject,
    wanted: Wanted,
) -> Weights:
    """The tensors of an SAE [d_model, n_latents], checked; the decoder is neither kept nor mapped where not wanted."""
    (W_enc,) = take(tensors, [layout.W_enc], path)
    if matrix_shape(W_enc, layout.W_enc, path) != (shape[::-1] if layout.by_outputs else shape):
        raise InputError(
            f"{path}: {layout.W_enc} has the shape {list(W_enc.shape)}, which is not that of {shape[1]} latents of "
            f"{shape[0]} dimensions; the file is damaged or its configuration belongs to another SAE"
        )
    (b_enc,) = vectors(tensors, [layout.b_enc], shape[1], path)
    b_dec = torch.zeros(shape[0])
    if values.flag_or("use_decoder_bias", True):
        (b_dec,) = vectors(tensors, [layout.b_dec], shape[0], path)
    W_dec, norms = None, torch.ones(shape[1])
    if values["sparsity_include_decoder_norm"]:
        present(tensors, [layout.W_dec], path)
        stored = shape if layout.by_outputs else shape[::-1]
        norms = decoder_norms(path, layout.W_dec, stored, latents=1 if layout.by_outputs else 0)
        W_dec = tensors[layout.W_dec] if wanted.decoder else None  # which is as finite as its norms
    elif wanted.decoder:
        (W_dec,) = take(tensors, [layout.W_dec], path)
        matrix_shape(W_dec, layout.W_dec, path)
    if layout.by_outputs:
        W_enc, W_dec = W_enc.T, None if W_dec is None else W_dec.T
    return Weights(W_enc, b_enc, W_dec, b_dec, norms)


def in_gate_space(
    weights: Weights,
    gate: Activation,
    config: SaeConfig,
    *,
    read: float,
    rebuilt: float,
    apply_b_dec_to_input: bool = False,
    input_norm: TokenNorm | None = None,
) -> SaeParts:
    """The SAE whose latents are what the gate compares: z_j = n_j (read * x W_enc + b_enc)_j / rebuilt, gated.

    read, rebuilt: sqrt(d_model) over the mean norm of the states read and of those rebuilt, which the training scaled
        to one norm; x^ = (z / n) W_dec + b_dec / rebuilt then has the scale of the states.
    gate: its threshold in that ("raw") scale. With the activation scale "normalised" (`config.metadata`), the latents
        and the threshold are `read` times as large.
    """
    scale = read if config.metadata["activation_scale"] == NORMALISED else 1.0
    if isinstance(gate, JumpReLU):
        gate = JumpReLU(gate.threshold * scale)
    norms = weights.norms.clamp_min(_SHORTEST)
    return SaeParts(
        weights.W_enc,
        weights.b_enc * norms * (scale / rebuilt),
        weights.W_dec,
        weights.b_dec / rebuilt,
        gate,
        config,
        apply_b_dec_to_input=apply_b_dec_to_input,
        encoder_scale=norms * (read * scale / rebuilt),
        decoder_scale=1 / (norms * scale),
        input_norm=input_norm,
    )


def _model_name(folder: Path, source: str) -> str | None:
    """As lm_config.json says, or the names of the published suites."""
    path = folder / _MODEL
    if is_listed(path):
        return read_json(path).text_or("model_name", None)
    if "Llama-Scope-R1-Distill" in source:
        return "deepseek-ai/DeepSeek-R1-Distill-Llama-8B"
    qwen = re.search(r"Llama-Scope-2-(Qwen3-[\d.]+B)", source)
    return f"Qwen/{qwen.group(1)}" if qwen else None


OPENMOSS = SaeFormat(
    "openmoss",
    files=(_CONFIG, _MODEL, _WEIGHTS),
    required=(_CONFIG, _WEIGHTS),
    read=read_openmoss,
    scales=(RAW, NORMALISED),
)
