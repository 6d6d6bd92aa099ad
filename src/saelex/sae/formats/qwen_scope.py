"""Qwen-Scope (arXiv 2605.11887): TopK SAEs on Qwen3 and Qwen3.5, one `layer<n>.sae.pt` for each block.

Layout: `Qwen/SAE-Res-<model>-W<width in K>K-L0_<k>`, all layers in one folder; each file a dictionary with
W_enc [n_latents, d_model], b_enc, W_dec [d_model, n_latents], b_dec. The state is taken as it is: neither b_dec nor a
norm is applied to it. k, width and model are in the repository's name only; where a copy has lost it, a `config.json`
of one's own beside the files says them: {"k": 50, "model_name": "Qwen/Qwen3-1.7B-Base"}.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from saelex.errors import InputError
from saelex.reading.json_object import read_json
from saelex.reading.regular import is_listed
from saelex.reading.tensors import read_pt
from saelex.sae.config import SaeConfig
from saelex.sae.formats.common import SaeFormat, Wanted, the_file, transposed
from saelex.sae.formats.gates import topk, vectors
from saelex.sae.parts import SaeParts

_FILE = "layer*.sae.pt"
_CONFIG = "config.json"
_REPOSITORY = re.compile(r"SAE-Res-(Qwen[\w.-]+?)-W(\d+)K-L0_(\d+)")


class _Named(NamedTuple):
    """What the names or a configuration say."""

    model_name: str | None
    n_latents: int | None
    k: Any


def read_qwen_scope(folder: Path, wanted: Wanted) -> SaeParts:
    """The SAE in the file named, or in the folder's only one; see the module's text for the layout."""
    path = the_file(folder, _FILE, wanted)
    named = _named(folder, wanted.source)
    tensors = read_pt(path)
    W_enc = transposed(tensors, "W_enc", path)
    d_model, n_latents = W_enc.shape
    if named.n_latents not in (None, n_latents):
        raise InputError(
            f"{path}: W_enc has {n_latents} latents, not the {named.n_latents} of its repository's name; "
            "it belongs to another one"
        )
    W_dec = transposed(tensors, "W_dec", path) if wanted.decoder else None
    (b_enc,) = vectors(tensors, ["b_enc"], n_latents, path)
    (b_dec,) = vectors(tensors, ["b_dec"], d_model, path)
    found = re.fullmatch(r"layer(\d+)\.sae\.pt", path.name)
    layer = int(found.group(1)) if found else None
    config = SaeConfig(
        d_model,
        n_latents,
        model_name=named.model_name,
        layer=layer,
        source=wanted.source,
    )
    return SaeParts(W_enc, b_enc, W_dec, b_dec, topk(b_enc, named.k, path).activation, config)


def _named(folder: Path, source: str) -> _Named:
    path = folder / _CONFIG
    if is_listed(path) and (values := read_json(path)).get("k") is not None:
        return _Named(values.text_or("model_name", None), None, values.whole("k", least=1))
    found = _REPOSITORY.search(source)
    if found is None:
        raise InputError(
            f"{source}: how many latents a token keeps is in the repository's name only (SAE-Res-...-W32K-L0_50); "
            f'keep that name for the folder, or write {{"k": 50}} to {_CONFIG} in it'
        )
    return _Named(f"Qwen/{found.group(1)}", int(found.group(2)) * 1024, int(found.group(3)))


QWEN_SCOPE = SaeFormat("qwen_scope", files=(_FILE, _CONFIG), required=(_FILE,), read=read_qwen_scope)
