"""EleutherAI's sparsify (before: `sae`): TopK SAEs, a folder for each hookpoint of a model.

Layout: `<run>/<hookpoint>/` (`layers.10`, `h.3`, `embed_tokens`; with several seeds `layers.10/seed1`) with `cfg.json`
and `sae.safetensors`: encoder.weight [n_latents, d_in], encoder.bias, W_dec [n_latents, d_in], b_dec. A run that was
trained has `config.json` above, with the model; what is published is called after it (`sae-llama-3-8b-32x`).

sparsify's own `encode` (1.3): relu((x - b_dec) encoder + bias), then the k largest. It subtracts b_dec whatever
`normalize_decoder` says, which only constrains the training; SAELens' reader does not where that is true.
`layers.10` is the output of block 10.
"""

from __future__ import annotations

import re
from pathlib import Path

from saelex.errors import InputError
from saelex.reading.json_object import JsonObject, read_json
from saelex.reading.regular import is_listed
from saelex.reading.tensors import read_safetensors
from saelex.sae.config import SaeConfig
from saelex.sae.formats.common import (
    SaeFormat,
    Wanted,
    layer_of_hook,
    refuse_left_over,
    take,
    transposed,
)
from saelex.sae.formats.gates import topk, vectors
from saelex.sae.parts import SaeParts

_CONFIG = "cfg.json"
_WEIGHTS = "sae.safetensors"
_RUN = "config.json"  # one or two folders above
_HOOKPOINT = re.compile(r"(?:\w+\.)*(?:layers|h)\.\d+(?:\.\w+)*|embed_tokens|wte")
_PUBLISHED = re.compile(r"(?:^|/|\\|--)sae-(.+?)-\d+[xk](?![^/\\-])")


def read_sparsify(folder: Path, wanted: Wanted) -> SaeParts:
    """The SAE in the folder. Raises InputError for what is no TopK autoencoder: transcoders, groupmax, signed ones."""
    path, weights = folder / _CONFIG, folder / _WEIGHTS
    values = read_json(path)
    _refuse_unknown(values, path)
    tensors = read_safetensors(weights)
    if "W_skip" in tensors:
        raise InputError(f"{weights}: has a skip connection (W_skip), which latents alone cannot stand for")
    refuse_left_over(tensors, ("encoder.weight", "encoder.bias", "W_dec", "b_dec"), weights)
    d_in, n_latents = values.whole("d_in", least=1), values.whole_or("num_latents", 0)
    n_latents = n_latents or int(d_in * values.number("expansion_factor"))  # sparsify writes 0 for "by the factor"
    W_enc = transposed(tensors, "encoder.weight", weights)
    W_dec = take(tensors, ["W_dec"], weights)[0] if wanted.decoder else None
    (b_enc,) = vectors(tensors, ["encoder.bias"], n_latents, weights)
    (b_dec,) = vectors(tensors, ["b_dec"], d_in, weights)
    hookpoint, run = _hookpoint(wanted.source), _run(folder)
    layer = layer_of_hook(hookpoint)
    config = SaeConfig(
        d_in,
        n_latents,
        model_name=run.text_or("model", None) or _published_model(wanted.source),
        layer=layer,
        hook_name=hookpoint if layer is None else None,
        source=wanted.source,
        metadata={"context_size": run["ctx_len"]} if "ctx_len" in run else {},
    )
    gate = topk(b_enc, values.whole("k", least=1), path).activation
    return SaeParts(W_enc, b_enc, W_dec, b_dec, gate, config, apply_b_dec_to_input=True)


def _refuse_unknown(values: JsonObject, path: Path) -> None:
    known: dict[str, str | bool] = {"activation": "topk", "transcode": False, "skip_connection": False, "signed": False}
    for name, accepted in known.items():
        value = values.text_or(name, accepted) if isinstance(accepted, str) else values.flag_or(name, accepted)
        if value != accepted:
            raise InputError(
                f"{path}: {name} is {value!r}, which is no TopK autoencoder of one place; saelex reads those only"
            )


def _hookpoint(source: str) -> str | None:
    """The last part of the path that names a module."""
    named = [part for part in re.split(r"[/\\]", source) if _HOOKPOINT.fullmatch(part)]
    return named[-1] if named else None


def _run(folder: Path) -> JsonObject:
    """The configuration of the training, where it is beside the SAE's folder."""
    for above in list(folder.resolve().parents)[:2]:
        if is_listed(above / _RUN) and "sae" in (values := read_json(above / _RUN)):
            return values
    return JsonObject({}, folder)


def _published_model(source: str) -> str | None:
    found = _PUBLISHED.search(source)
    return found.group(1) if found else None


SPARSIFY = SaeFormat("sparsify", files=(_CONFIG, _WEIGHTS), required=(_CONFIG, _WEIGHTS), read=read_sparsify)
