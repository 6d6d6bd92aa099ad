"""Llama Scope (He et al. 2024): JumpReLU SAEs on Llama-3.1-8B, in the layout of OpenMOSS's first release.

Layout: `fnlp/Llama3_1-8B-Base-LX{R,A,M}-{8,32}x`, `Llama3_1-8B-Base-L<L>R-32x/` with `hyperparams.json`,
`lm_config.json` and `checkpoints/final.safetensors`: bfloat16 encoder.weight [n_latents, d_model], encoder.bias,
decoder.weight [d_model, n_latents], decoder.bias.

The SAE was trained on states scaled to a mean norm of sqrt(d_model). OpenMOSS's loader (lm_saes, commit 4ec6f0aa,
`from_config`) folds that into the weights, makes the decoder's columns unit vectors, and compares with the threshold in
that space: the latents' scale is that of the raw states. Here it is called "raw" and is the default. "normalised" gives
the same latents times sqrt(d_model) / mean norm (2.2 at layer 24), the scale of SAELens. SAELens skips the division by
the decoder's column norms, so its latents are those only where the columns have length 1 already.

The factors would not survive the file's bfloat16: they stay beside the weights, in float32 (`openmoss.in_gate_space`).
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

from saelex.errors import InputError
from saelex.reading.json_object import JsonObject, read_json
from saelex.reading.regular import is_listed
from saelex.reading.tensors import read_safetensors
from saelex.sae.activations import Activation, JumpReLU, ReLU
from saelex.sae.config import SaeConfig
from saelex.sae.formats.common import RAW, SaeFormat, Wanted, layer_of_hook
from saelex.sae.formats.openmoss import LINEAR, NORMALISED, in_gate_space, read_weights, refuse_unknown
from saelex.sae.parts import SaeParts

_CONFIG = "hyperparams.json"
_MODEL = "lm_config.json"
_WEIGHTS = "checkpoints/final.safetensors"
_NORMS = "dataset_average_activation_norm"


def read_llama_scope(folder: Path, wanted: Wanted) -> SaeParts:
    """The SAE in the folder; see the module's text for layout and scale."""
    path = folder / _CONFIG
    values = read_json(path)
    refuse_unknown(
        values,
        path,
        {
            "act_fn": ("jumprelu", "relu"),
            "norm_activation": ("dataset-wise", "none"),
            "sparsity_include_decoder_norm": (True,),
        },
    )
    d_model, n_latents = values.whole("d_model", least=1), values.whole("d_sae", least=1)
    read, rebuilt = _norm_factors(values, d_model, path)
    subtract = values.flag_or("apply_decoder_bias_to_pre_encoder", False)
    if subtract and read != rebuilt:
        raise InputError(f"{path}: subtracts b_dec from an input of another scale, which this reader cannot follow")
    gate: Activation = ReLU()
    if values["act_fn"] == "jumprelu":
        gate = JumpReLU(torch.tensor([values.number("jump_relu_threshold")]))
    weights = folder / _WEIGHTS
    parts = read_weights(read_safetensors(weights), weights, LINEAR, (d_model, n_latents), values, wanted)
    hook_name = values.text("hook_point_in")
    config = SaeConfig(
        d_model,
        n_latents,
        model_name=_model_name(folder),
        layer=layer_of_hook(hook_name),
        hook_name=hook_name,
        source=wanted.source,
        metadata={"activation_scale": wanted.activation_scale, "top_k": values.get("top_k")},
    )
    return in_gate_space(parts, gate, config, read=read, rebuilt=rebuilt, apply_b_dec_to_input=subtract)


def _norm_factors(values: JsonObject, d_model: int, path: Path) -> tuple[float, float]:
    """sqrt(d_model) over the mean norm of the states read and of those rebuilt."""
    if values["norm_activation"] == "none":
        return 1.0, 1.0
    norms = values.object(_NORMS)
    read, rebuilt = norms.number("in"), norms.number("out")
    if not (read > 0 and rebuilt > 0):
        raise InputError(f"{path}: {_NORMS} must be positive, not {read} and {rebuilt}")
    return math.sqrt(d_model) / read, math.sqrt(d_model) / rebuilt


def _model_name(folder: Path) -> str | None:
    path = folder / _MODEL
    return read_json(path).text_or("model_name", None) if is_listed(path) else None


LLAMA_SCOPE = SaeFormat(
    "llama_scope",
    files=(_CONFIG, _MODEL, _WEIGHTS),
    required=(_CONFIG, _WEIGHTS),
    read=read_llama_scope,
    scales=(RAW, NORMALISED),
)
