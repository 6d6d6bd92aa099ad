"""Gemma Scope 2: JumpReLU SAEs on Gemma 3, `config.json` and `params.safetensors` each.

Layout: `google/gemma-scope-2-<size>-<pt|it>`, `resid_post/layer_<L>_width_<W>_l0_<small|medium|big>/` (and
`resid_post_all/...`) with w_enc [d_model, n_latents], b_enc, w_dec [n_latents, d_model], b_dec and threshold
[n_latents]. The input is taken as it is. config.json names the model ("gemma-v3-1b-pt") and the module whose output is
read ("model.layers.13.output"); where it is missing, the path does. The repositories hold transcoders, crosscoders and
cross-layer transcoders as well: these are no autoencoders and are refused.
"""

from __future__ import annotations

import re
from pathlib import Path

from saelex.errors import InputError
from saelex.reading.json_object import JsonObject, read_json
from saelex.reading.regular import is_listed
from saelex.reading.tensors import read_safetensors
from saelex.sae.activations import JumpReLU
from saelex.sae.config import SaeConfig
from saelex.sae.formats.common import (
    SaeFormat,
    Wanted,
    layer_of_hook,
    matrix_shape,
    refuse_left_over,
    take,
)
from saelex.sae.formats.gates import vectors
from saelex.sae.parts import SaeParts

_CONFIG = "config.json"
_WEIGHTS = "params.safetensors"
_OTHER_KINDS = re.compile(r"transcoder|crosscoder|\bclt\b")
_MODULES = {
    "resid_post": "model.layers.{}.output",
    "attn_out": "model.layers.{}.self_attn.o_proj.input",
    "mlp_out": "model.layers.{}.post_feedforward_layernorm.output",
}


def read_gemma_scope_2(folder: Path, wanted: Wanted) -> SaeParts:
    """The SAE in the folder; see the module's text for the layout."""
    path = folder / _WEIGHTS
    values = read_json(folder / _CONFIG) if is_listed(folder / _CONFIG) else JsonObject({}, folder / _CONFIG)
    _refuse_unknown(values, folder, wanted)
    tensors = read_safetensors(path)
    refuse_left_over(tensors, ("w_enc", "b_enc", "w_dec", "b_dec", "threshold"), path)
    (W_enc,) = take(tensors, ["w_enc"], path)
    d_model, n_latents = matrix_shape(W_enc, "w_enc", path)
    b_enc, threshold = vectors(tensors, ["b_enc", "threshold"], n_latents, path)
    (b_dec,) = vectors(tensors, ["b_dec"], d_model, path)
    W_dec = take(tensors, ["w_dec"], path)[0] if wanted.decoder else None
    hook_name = _hook_name(values, wanted.source)
    config = SaeConfig(
        d_model,
        n_latents,
        model_name=_model_name(values, wanted.source),
        layer=layer_of_hook(hook_name),
        hook_name=hook_name,
        source=wanted.source,
        metadata={"l0": values["l0"]} if "l0" in values else {},
    )
    return SaeParts(W_enc, b_enc, W_dec, b_dec, JumpReLU(threshold), config)


def _refuse_unknown(values: JsonObject, folder: Path, wanted: Wanted) -> None:
    path = folder / _CONFIG
    if (architecture := values.text_or("architecture", "jump_relu")) != "jump_relu":
        raise InputError(f"{path}: architecture is {architecture!r}, not the published 'jump_relu'")
    read, kind = values.text_or("hf_hook_point_in", None), values.text_or("type", "sae")
    affine, rebuilt = values.flag_or("affine_connection", False), values.text_or("hf_hook_point_out", read)
    if kind != "sae" or affine or rebuilt != read:
        raise InputError(f"{path}: describes a {kind if kind != 'sae' else 'transcoder'}, not an autoencoder")
    if not values and (found := _OTHER_KINDS.search(wanted.source)):
        raise InputError(f"{wanted.source}: is a {found.group()} by its name, not an autoencoder")


def _hook_name(values: JsonObject, source: str) -> str | None:
    """The module that is read, in TransformerLens' words where it is the residual stream after a block."""
    module = values.text_or("hf_hook_point_in", None)
    layer = re.search(r"layer_(\d+)", source)
    kind = re.search(r"resid_post|attn_out|mlp_out", source)
    if module is None and layer and kind:
        module = _MODULES[kind.group()].format(layer.group(1))
    block = re.fullmatch(r"(?:.*\.)?layers\.(\d{1,6})\.output", str(module))
    return f"blocks.{block.group(1)}.hook_resid_post" if block else module


def _model_name(values: JsonObject, source: str) -> str | None:
    """The hub's id: "gemma-v3-1b-pt" -> "google/gemma-3-1b-pt"; the smallest has no "-pt" there."""
    named = values.text_or("model_name", None)
    if named is None:
        repository = re.search(r"gemma-scope-2-(\w+-(?:pt|it))", source)
        named = f"gemma-3-{repository.group(1)}" if repository else None
    if named is None:
        return None
    name = str(named).rpartition("/")[2].replace("gemma-v3-", "gemma-3-")
    return "google/" + (name.removesuffix("-pt") if "270m" in name else name)


GEMMA_SCOPE_2 = SaeFormat("gemma_scope_2", files=(_CONFIG, _WEIGHTS), required=(_WEIGHTS,), read=read_gemma_scope_2)
