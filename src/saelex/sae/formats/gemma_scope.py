"""Gemma Scope (Lieberum et al. 2024): JumpReLU SAEs on Gemma 2, one `params.npz` each.

Layout: `google/gemma-scope-<size>-<pt|it>-<res|mlp|att>`, `layer_<L>/width_<W>/average_l0_<N>/params.npz` with float32
W_enc [d_model, n_latents], b_enc, W_dec [n_latents, d_model], b_dec and threshold [n_latents]. The input is taken as it
is: neither b_dec nor a norm is applied to it. The file says nothing of model or layer; the path does.
"""

from __future__ import annotations

import math
import re
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saelex.errors import InputError
from saelex.sae.activations import JumpReLU
from saelex.sae.autoencoder import SaeConfig, SparseAutoencoder
from saelex.sae.formats.common import SaeFormat, Wanted, take

_FILE = "params.npz"
_TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
_HOOKS = {"res": "blocks.{}.hook_resid_post", "mlp": "blocks.{}.hook_mlp_out", "att": "blocks.{}.attn.hook_z"}


def read_gemma_scope(folder: Path, wanted: Wanted) -> SparseAutoencoder:
    """The SAE in the folder; see the module's text for the layout."""
    path = folder / _FILE
    W_enc, b_enc, W_dec, b_dec, threshold = take(_read_npz(path), _TENSORS, path)
    if threshold.shape != b_enc.shape:
        raise InputError(f"{path}: threshold has the shape {list(threshold.shape)}; download it again")
    model_name, layer, hook_name = _provenance(wanted.source)
    if hook_name == "hook_embed":  # trained on embeddings before Gemma multiplies them by the root of their width
        W_enc, W_dec = W_enc / math.sqrt(W_enc.shape[0]), W_dec * math.sqrt(W_enc.shape[0])
    d_model, n_latents = W_enc.shape
    config = SaeConfig(
        d_model, n_latents, model_name=model_name, layer=layer, hook_name=hook_name, source=wanted.source
    )
    return SparseAutoencoder(W_enc, b_enc, W_dec, b_dec, JumpReLU(threshold), config)


def _read_npz(path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(np.asarray(arrays[name], np.float32)) for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise InputError(f"{path}: not a readable npz file ({error}); download it again") from error


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
