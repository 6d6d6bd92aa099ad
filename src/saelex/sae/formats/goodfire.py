"""Goodfire's SAEs on Llama, and qresearch's on DeepSeek-R1-Distill: one ReLU SAE in one `.pth` or `.pt` file.

Layout: `<model>-SAE-l<layer>.pth` in a repository of that name, a dictionary of two torch.nn.Linear: encoder_linear or
encoder (weight [n_latents, d_model], bias) and decoder_linear or decoder (weight [d_model, n_latents], bias). The state
is taken as it is. Layer l is the output of block l. The file's name says model and layer.
"""

from __future__ import annotations

import re
from pathlib import Path

from saelex.reading.tensors import read_pt
from saelex.sae.activations import ReLU
from saelex.sae.config import SaeConfig
from saelex.sae.formats.common import SaeFormat, Wanted, the_file, transposed
from saelex.sae.formats.gates import vectors
from saelex.sae.parts import SaeParts

_FILE = "*-SAE-l*.pt*"
_OWNERS = {"Llama": "meta-llama", "DeepSeek": "deepseek-ai"}


def read_goodfire(folder: Path, wanted: Wanted) -> SaeParts:
    """The SAE in the file named, or in the folder's only one; see the module's text for the layout."""
    path = the_file(folder, _FILE, wanted)
    tensors = read_pt(path)
    suffix = "_linear" if any("_linear." in name for name in tensors) else ""
    W_enc = transposed(tensors, f"encoder{suffix}.weight", path)
    d_model, n_latents = W_enc.shape
    W_dec = transposed(tensors, f"decoder{suffix}.weight", path) if wanted.decoder else None
    (b_enc,) = vectors(tensors, [f"encoder{suffix}.bias"], n_latents, path)
    (b_dec,) = vectors(tensors, [f"decoder{suffix}.bias"], d_model, path)
    model_name, layer = _provenance(path.name)
    config = SaeConfig(
        d_model,
        n_latents,
        model_name=model_name,
        layer=layer,
        source=wanted.source,
    )
    return SaeParts(W_enc, b_enc, W_dec, b_dec, ReLU(), config)


def _provenance(name: str) -> tuple[str | None, int | None]:
    found = re.fullmatch(r"(.+)-SAE-l(\d+)\.pth?", name)
    if found is None:
        return None, None
    model, layer = found.groups()
    owner = _OWNERS.get(model.split("-")[0])
    return f"{owner}/{model}" if owner else model, int(layer)


GOODFIRE = SaeFormat("goodfire", files=(_FILE,), required=(_FILE,), read=read_goodfire)
