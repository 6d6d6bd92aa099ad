"""Gemma Scope (Lieberum et al. 2024): JumpReLU SAEs on Gemma 2, one `params.npz` each.

Layout: `google/gemma-scope-<size>-<pt|it>-<res|mlp|att>`, `layer_<L>/width_<W>/average_l0_<N>/params.npz` with float32
W_enc [d_model, n_latents], b_enc, W_dec [n_latents, d_model], b_dec and threshold [n_latents]. The input is taken as it
is: neither b_dec nor a norm is applied to it. The file says nothing of model or layer; the path does.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch

from saelex.errors import InputError
from saelex.reading.arrays import Npz
from saelex.sae.activations import JumpReLU
from saelex.sae.config import SaeConfig
from saelex.sae.formats.common import SaeFormat, Wanted, matrix_shape, refuse_left_over, take
from saelex.sae.formats.gates import vectors
from saelex.sae.parts import SaeParts

_FILE = "params.npz"
_HOOKS = {"res": "blocks.{}.hook_resid_post", "mlp": "blocks.{}.hook_mlp_out", "att": "blocks.{}.attn.hook_z"}


def read_gemma_scope(folder: Path, wanted: Wanted) -> SaeParts:
    """The SAE in the folder; see the module's text for the layout."""
    path = folder / _FILE
    if "transcoder" in wanted.source:
        raise InputError(f"{wanted.source}: is a transcoder by its name, not an autoencoder")
    arrays = Npz(path)
    refuse_left_over(arrays, ("W_enc", "b_enc", "W_dec", "b_dec", "threshold"), path)
    (W_enc,) = take(arrays, ["W_enc"], path)
    d_model, n_latents = matrix_shape(W_enc, "W_enc", path)
    b_enc, threshold = vectors(arrays, ["b_enc", "threshold"], n_latents, path)
    (b_dec,) = vectors(arrays, ["b_dec"], d_model, path)
    W_dec = take(arrays, ["W_dec"], path)[0] if wanted.decoder else None
    model_name, layer, hook_name = _provenance(wanted.source)
    root = None
    if hook_name == "hook_embed":  # trained on embeddings before Gemma multiplies them by the root of their width
        root = torch.full((n_latents,), math.sqrt(d_model))
    return SaeParts(
        W_enc,
        b_enc,
        W_dec,
        b_dec,
        JumpReLU(threshold),
        SaeConfig(
            d_model,
            n_latents,
            model_name=model_name,
            layer=layer,
            hook_name=hook_name,
            source=wanted.source,
        ),
        encoder_scale=None if root is None else 1 / root,
        decoder_scale=root,
    )


def _provenance(source: str) -> tuple[str | None, int | None, str | None]:
    """Model, layer and hook, as repository and folder are named; residual where nothing else is said."""
    repository = re.search(r"gemma-scope-(\d+b)-(pt|it)-(res|mlp|att)", source)
    model_name, kind = None, "res"
    if repository:
        size, training, kind = repository.groups()
        model_name = f"google/gemma-2-{size}" + ("-it" if training == "it" else "")
    parts = re.split(r"[/\\]", source)
    if "embedding" in parts:
        return model_name, None, "hook_embed"
    layers = [int(found.group(1)) for part in parts if (found := re.fullmatch(r"layer_(\d+)", part))]
    if not layers:
        return model_name, None, None
    return model_name, layers[-1] if kind == "res" else None, _HOOKS[kind].format(layers[-1])


GEMMA_SCOPE = SaeFormat("gemma_scope", files=(_FILE,), required=(_FILE,), read=read_gemma_scope)
