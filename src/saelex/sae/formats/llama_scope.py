"""Llama Scope (He et al. 2024): JumpReLU SAEs on Llama-3.1-8B, in the layout of OpenMOSS's first release.

Layout: `fnlp/Llama3_1-8B-Base-LX{R,A,M}-{8,32}x`, `Llama3_1-8B-Base-L<L>R-32x/` with `hyperparams.json`,
`lm_config.json` and `checkpoints/final.safetensors`: bfloat16 encoder.weight [n_latents, d_model], encoder.bias,
decoder.weight [d_model, n_latents], decoder.bias.

The SAE was trained on states scaled to a mean norm of sqrt(d_model). OpenMOSS's loader (lm_saes, commit 4ec6f0aa,
`from_config`) folds that into the weights, makes the decoder's columns unit vectors, and compares with the threshold in
that space: the latents' scale is that of the raw states. Here it is called "raw" and is the default. "normalised" gives
the same latents times sqrt(d_model) / mean norm (2.2 at layer 24), the scale of SAELens. SAELens skips the division by
the decoder's column norms, so its latents are those only where the columns have length 1 already.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from saelex.errors import InputError
from saelex.sae.activations import JumpReLU, ReLU
from saelex.sae.autoencoder import SaeConfig, SparseAutoencoder
from saelex.sae.formats.common import RAW, SaeFormat, Wanted, layer_of_hook, read_json, read_safetensors, setting, take

_CONFIG = "hyperparams.json"
_MODEL = "lm_config.json"
_WEIGHTS = "checkpoints/final.safetensors"
_TENSORS = ("encoder.weight", "encoder.bias", "decoder.weight")
NORMALISED = "normalised"


def read_llama_scope(folder: Path, wanted: Wanted) -> SparseAutoencoder:
    """The SAE in the folder, in float32: the folded factors would not survive the file's bfloat16."""
    path, weights = folder / _CONFIG, folder / _WEIGHTS
    values = read_json(path)
    _refuse_unknown(values, path)
    tensors = read_safetensors(weights)
    W_enc, b_enc, W_dec = (tensor.float() for tensor in take(tensors, _TENSORS, weights))
    d_model, n_latents = int(setting(values, "d_model", path)), int(setting(values, "d_sae", path))
    b_dec = torch.zeros(d_model)
    if values.get("use_decoder_bias", True):
        b_dec = take(tensors, ["decoder.bias"], weights)[0].float()
    if W_dec.shape != (d_model, n_latents) or W_enc.shape != (n_latents, d_model):
        raise InputError(
            f"{weights}: encoder {list(W_enc.shape)} and decoder {list(W_dec.shape)} do not have the "
            f"{n_latents} latents x {d_model} dimensions of {_CONFIG}; download both again"
        )
    norm_in, norm_out = _norm_factors(values, d_model, path)
    b_enc, b_dec, W_dec = b_enc / norm_in, b_dec / norm_out, W_dec * (norm_in / norm_out)
    lengths = W_dec.norm(dim=0)  # [n_latents]
    lengths = torch.where(lengths > 0, lengths, torch.ones_like(lengths))
    W_dec, W_enc, b_enc = W_dec / lengths, W_enc * lengths[:, None], b_enc * lengths
    threshold = None
    if values["act_fn"] == "jumprelu":
        threshold = torch.tensor([float(setting(values, "jump_relu_threshold", path))])
    if wanted.activation_scale == NORMALISED:
        W_enc, b_enc, W_dec = W_enc * norm_in, b_enc * norm_in, W_dec / norm_in
        threshold = None if threshold is None else threshold * norm_in
    hook_name = setting(values, "hook_point_in", path)
    config = SaeConfig(
        d_model,
        n_latents,
        model_name=_model_name(folder),
        layer=layer_of_hook(hook_name),
        hook_name=hook_name,
        dtype="float32",
        source=wanted.source,
        metadata={"activation_scale": wanted.activation_scale, "top_k": values.get("top_k")},
    )
    gate = ReLU() if threshold is None else JumpReLU(threshold)
    subtract = bool(values.get("apply_decoder_bias_to_pre_encoder", False))
    return SparseAutoencoder(W_enc.T, b_enc, W_dec.T, b_dec, gate, config, apply_b_dec_to_input=subtract)


def _refuse_unknown(values: dict[str, Any], path: Path) -> None:
    known = {
        "act_fn": ("jumprelu", "relu"),
        "norm_activation": ("dataset-wise", "none"),
        "use_glu_encoder": (False, None),
        "sparsity_include_decoder_norm": (True, None),
    }
    for name, accepted in known.items():
        if values.get(name) not in accepted:
            raise InputError(
                f"{path}: {name} is {values.get(name)!r}, which this reader cannot follow (published: {accepted[0]!r})"
            )
    norms = values.get("dataset_average_activation_norm") or {}
    if values.get("apply_decoder_bias_to_pre_encoder") and norms.get("in") != norms.get("out"):
        raise InputError(f"{path}: subtracts b_dec from an input of another scale, which this reader cannot follow")


def _norm_factors(values: dict[str, Any], d_model: int, path: Path) -> tuple[float, float]:
    """sqrt(d_model) over the mean norm of the states read and of those rebuilt."""
    if values["norm_activation"] == "none":
        return 1.0, 1.0
    norms = setting(values, "dataset_average_activation_norm", path)
    try:
        read, rebuilt = float(norms["in"]), float(norms["out"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: dataset_average_activation_norm needs the numbers 'in' and 'out'") from error
    if not (read > 0 and rebuilt > 0):
        raise InputError(f"{path}: dataset_average_activation_norm must be positive, not {read} and {rebuilt}")
    return math.sqrt(d_model) / read, math.sqrt(d_model) / rebuilt


def _model_name(folder: Path) -> str | None:
    path = folder / _MODEL
    return read_json(path).get("model_name") if path.is_file() else None


LLAMA_SCOPE = SaeFormat(
    "llama_scope",
    files=(_CONFIG, _MODEL, _WEIGHTS),
    required=(_CONFIG, _WEIGHTS),
    read=read_llama_scope,
    scales=(RAW, NORMALISED),
)
