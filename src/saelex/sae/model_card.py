"""What is known of an SAE, and the README that says it where the SAE is shared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from saelex.errors import InputError
from saelex.reading.json_object import JsonObject, read_json, read_json_lines
from saelex.reading.regular import is_here, is_listed
from saelex.sae.parts import SaeParts

LOG = "metrics.jsonl"
REPORT = "report.json"

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def describe_gate(sae: SaeParts) -> str:
    """The gate in a few words: "TopK, k=32", "JumpReLU"."""
    k = getattr(sae.activation, "k", None)
    name = type(sae.activation).__name__
    return name if k is None else f"{name}, k={k}"


def sae_facts(sae: SaeParts) -> dict[str, Any]:
    """Identity and shape as JSON values; `metadata` is what its configuration records beyond that."""
    config = sae.config
    return {
        "source": config.source,
        "model": config.model_name,
        "layer": config.layer,
        "hook_name": config.hook_name,
        "d_model": config.d_model,
        "n_latents": config.n_latents,
        "gate": describe_gate(sae),
        "subtracts_b_dec": sae.apply_b_dec_to_input,
        "dtype": str(sae.W_enc.dtype).removeprefix("torch."),
        "metadata": config.metadata,
    }


def training_log(folder: str | Path | None) -> list[JsonObject]:
    """The lines of a training run's metrics.jsonl; none where the folder has no such file.

    Raises InputError for a line that is not JSON.
    """
    path = Path(folder or "") / LOG
    if folder is None or not is_listed(path):
        return []
    return read_json_lines(path)


def known_metrics(folder: str | Path | None) -> dict[str, float]:
    """Figures for a card, by the names of _FIGURES: a report's where one lies in the folder, or else the training log's
    last ones. Raises InputError for a report or log that cannot be read.
    """
    path = Path(folder or "") / REPORT
    if folder is None or not is_listed(path):
        last = (training_log(folder) or [JsonObject({}, path)])[-1]
        return {name: last.number(name) for name in _FIGURES if last.get(name) is not None}
    measured = read_json(path).objects("saes")
    if not measured:
        raise InputError(f"{path}: not a report of `saelex sae report`: it holds no SAE")
    figures, loss = measured[0].object("metrics"), measured[0].object_or_none("loss")
    if loss is not None:
        figures["loss_recovered"] = loss.get("recovered")
    return {name: figures.number(name) for name in _FIGURES if figures.get(name) is not None}


def model_card(
    sae: SaeParts, name: str, *, metrics: Mapping[str, float] | None = None, licence: str | None = None
) -> str:
    """Markdown with the hub's YAML header, for an SAE in SAELens' layout.

    name: how the examples call it: the hub id it will have, or its folder. metrics: by the names of `known_metrics`.
    """
    facts, metadata = sae_facts(sae), sae.config.metadata
    model = _without_folder(facts["model"])
    data = [str(corpus) for corpus in metadata.get("data") or ()]
    header = {
        "library_name": "saelens",
        "tags": ["saelex", "saelens", "sparse-autoencoder", "interpretability"],
        "base_model": model if _HUB_ID.fullmatch(model or "") else None,
        "license": licence,
        "datasets": [corpus for corpus in data if _HUB_ID.fullmatch(corpus)],
    }
    front = yaml.safe_dump({key: value for key, value in header.items() if value}, sort_keys=False, allow_unicode=True)
    shown = {
        "Language model": model,
        "Layer": None if facts["layer"] is None else f"output of block {facts['layer']}",
        "Hook": facts["hook_name"],
        "Dimensions": f"{facts['d_model']:,}",
        "Latents": f"{facts['n_latents']:,}",
        "Gate": facts["gate"],
        "Input": "less the decoder's bias" if facts["subtracts_b_dec"] else "as it is",
        "Weights": facts["dtype"],
        "Made from": None if _is_path(facts["source"]) else f"`{facts['source']}`",
        "Trained on": ", ".join(data) or None,
        "Trained for": f"{metadata['tokens']:,} tokens" if isinstance(metadata.get("tokens"), int) else None,
        "Licence": licence,
    }
    shown |= {_FIGURES[key]: _figure(key, value) for key, value in (metrics or {}).items() if key in _FIGURES}
    return f"---\n{front}---\n\n" + _BODY.format(
        title=name.rstrip("/").rpartition("/")[2],
        name=name,
        model=model or "the language model",
        rows="\n".join(f"| {key} | {_cell(value)} |" for key, value in shown.items() if value),
        saelens=_FROM_HUB.format(name=name) if _HUB_ID.fullmatch(name) else f'sae = SAE.load_from_disk("{name}")',
    )


def _is_path(name: str | None) -> bool:
    """Whether a name tells others nothing: neither a hub id nor a name of the catalogue."""
    return name is None or Path(name).is_absolute() or is_here(name)


def _without_folder(model: str | None) -> str | None:
    return Path(model).name if model is not None and _is_path(model) else model


def _figure(name: str, value: float) -> str:
    if name.endswith("_share"):
        return f"{100 * value:.2f} %"
    return f"{value:,.0f}" if name == "tokens" else f"{value:.4g}"


def _cell(value: str) -> str:
    return value.replace("|", "\\|").replace("\n", " ")


_FIGURES = {
    "tokens": "Figures are over tokens",
    "fvu": "Fraction of variance unexplained",
    "cosine": "Cosine of state and reconstruction",
    "l0": "Latents that fire per token",
    "dead_share": "Dead latents",
    "dense_share": "Dense latents",
    "loss_recovered": "Loss recovered",
}
_FROM_HUB = """from huggingface_hub import snapshot_download

sae = SAE.load_from_disk(snapshot_download("{name}"))"""
_BODY = """# {title}

A sparse autoencoder: it writes a hidden state of {model} as a sum of few latents out of many.

| | |
|---|---|
{rows}

The files are in SAELens' own layout. In saelex, alone or as the vocabulary of a retrieval model:

```python
from saelex import Encoder, SparseAutoencoder

sae = SparseAutoencoder.load("{name}")
latents, reconstruction = sae(states)

encoder = Encoder.from_sae("{model}", sae="{name}")
```

In SAELens:

```python
from sae_lens import SAE
{saelens}
```
"""
