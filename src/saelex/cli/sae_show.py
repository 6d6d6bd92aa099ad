"""What is known of SAEs, as JSON values and as lines in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from saelex.cli.logs import say
from saelex.files import expanded
from saelex.hub import check_obtainable
from saelex.sae.catalogue import CatalogueEntry, Suite, find, models, resolve
from saelex.sae.config import NEURONPEDIA
from saelex.sae.memory import DTYPE_BYTES, head_bytes

if TYPE_CHECKING:
    from saelex.sae.autoencoder import SparseAutoencoder

_DEPTH = 2 / 3  # of the backbone's blocks: where SPLARE finds the best layers


def facts(source: str) -> dict[str, Any]:
    """What is known of an SAE: of a catalogue's from the catalogue, of another from its files, which are loaded."""
    if not expanded(source).exists() and (entry := resolve(source)) is not None:
        return entry_facts(entry)
    if not expanded(source).exists() and source.count("/") != 1:
        return entry_facts(find(source))  # neither a folder nor a hub id: says which names are similar
    check_obtainable(source)
    from saelex.sae.autoencoder import SparseAutoencoder

    return loaded_facts(SparseAutoencoder.load(source, decoder=False), expanded(source))


def entry_facts(entry: CatalogueEntry) -> dict[str, Any]:
    """Everything the catalogue knows of one SAE."""
    backbone = _backbone_bytes(entry.model.parameters(entry.layer))
    return {
        "id": entry.id,
        "repo": entry.repo,
        "file": entry.file,
        "format": entry.suite.format,
        "model": entry.model.name,
        "layer": entry.layer,
        "hook_name": entry.hook_name,
        "transform": False,
        "d_model": entry.d_model,
        "n_latents": entry.n_latents,
        "gate": entry.suite.gate,
        "l0": entry.l0,
        "scale": entry.suite.scale,
        "licence": entry.suite.licence,
        "note": entry.suite.note or None,
        "neuronpedia": NEURONPEDIA + entry.neuronpedia if entry.neuronpedia else None,
        "file_bytes": entry.file_bytes,
        "head_bytes": {dtype: entry.head_bytes(dtype) for dtype in DTYPE_BYTES},
        "backbone_bytes": backbone,
        "python": f'Encoder.from_sae("{entry.model.name}", sae="{entry.id}")'
        if backbone
        else f'SparseAutoencoder.load("{entry.id}")',
    }


def loaded_facts(sae: SparseAutoencoder, folder: Path) -> dict[str, Any]:
    """The same of an SAE whose files are here, as far as they tell."""
    config = sae.config
    known = [model for model in models().values() if config.model_name and model.is_called(config.model_name)]
    parameters = known[0].parameters(config.layer) if known and config.layer is not None else None
    gate = type(sae.activation).__name__.lower()
    k = getattr(sae.activation, "k", None)
    backbone = config.model_name or "the backbone"
    layer = "" if config.layer is not None or config.reads_transform else ", layer=..."
    return {
        "id": str(folder),
        "repo": None,
        "file": None,
        "format": None,
        "model": config.model_name,
        "layer": config.layer,
        "hook_name": config.hook_name,
        "transform": config.reads_transform,
        "d_model": config.d_model,
        "n_latents": config.n_latents,
        "gate": gate,
        "l0": k or config.metadata.get("l0"),
        "scale": _scale(sae),
        "licence": None,
        "note": None,
        "neuronpedia": NEURONPEDIA + config.neuronpedia if config.neuronpedia else None,
        "file_bytes": _size(folder),
        "head_bytes": {dtype: head_bytes(config.d_model, config.n_latents, gate, dtype) for dtype in DTYPE_BYTES},
        "backbone_bytes": _backbone_bytes(parameters),
        "python": f'Encoder.from_sae("{backbone}", sae="{folder}"{layer})',
    }


def suite_facts(suite: Suite) -> dict[str, Any]:
    """A suite in one row."""
    entries = list(suite.entries())
    return {
        "name": suite.name,
        "model": suite.model.name,
        "layers": sorted({entry.layer for entry in entries}),
        "widths": list(dict.fromkeys(entry.width for entry in entries)),
        "saes": len(entries),
        "gate": suite.gate,
        "licence": suite.licence,
        "example": next(entry.id for entry in one_per_width(entries)),
    }


def one_per_width(entries: Iterable[CatalogueEntry]) -> list[CatalogueEntry]:
    """Of every suite and width the default nearest to two thirds of the depth."""
    nearest: dict[tuple[str, str], CatalogueEntry] = {}
    for entry in entries:
        key = (entry.suite.name, entry.width)
        if entry.default and (key not in nearest or _from_depth(entry) < _from_depth(nearest[key])):
            nearest[key] = entry
    return list(nearest.values())


def show_suites(suites: Sequence[Suite]) -> None:
    """A line for each suite, and how to see more."""
    rows = [suite_facts(suite) for suite in suites]
    lines = [
        (row["name"], row["model"], _ranges(row["layers"]), " ".join(row["widths"]), str(row["saes"]), row["example"])
        for row in rows
    ]
    _table(("SUITE", "MODEL", "LAYERS", "WIDTHS", "SAES", "FOR EXAMPLE"), lines)


def show_entries(entries: Sequence[CatalogueEntry]) -> None:
    """A line for each SAE: memory in bfloat16, of the head, of the backbone cut at its layer, and of both."""
    lines = []
    for entry in entries:
        backbone, total = entry.backbone_bytes("bfloat16"), entry.total_bytes("bfloat16")
        sizes = [_gigabytes(size) for size in (entry.head_bytes("bfloat16"), backbone, total)]
        l0 = "" if entry.l0 is None else f"{entry.l0:g}"
        lines.append((entry.id, entry.model.name, f"{entry.n_latents:,}", l0, *sizes))
    _table(("ID", "MODEL", "LATENTS", "L0", "HEAD", "BACKBONE", "TOGETHER"), lines)
    say("memory in bfloat16; `saelex sae info ID` says more")


def show_facts(facts: dict[str, Any]) -> None:
    """All facts of one SAE, a line each; what is not known is left out."""
    layer, backbone = facts["layer"], facts["backbone_bytes"]
    state = None if layer is None else f"output of block {layer}: {facts['hook_name']}, hidden_states[{layer + 1}]"
    if facts["transform"]:
        state = f"output of the model's masked-LM transform: {facts['hook_name']}"
    memory = {
        dtype: f"{_gigabytes(head)} as a head"
        + (f" + {_gigabytes(backbone[dtype])} backbone = {_gigabytes(head + backbone[dtype])}" if backbone else "")
        for dtype, head in facts["head_bytes"].items()
    }
    shown = {
        "model": facts["model"],
        "reads": state or facts["hook_name"],
        "shapes": f"{facts['d_model']:,} dimensions -> {facts['n_latents']:,} latents",
        "gate": facts["gate"] + ("" if facts["l0"] is None else f", {facts['l0']:g} active latents per token"),
        "scale": facts["scale"],
        "file": " ".join(part for part in (facts["repo"], facts["file"]) if part),
        "file size": facts["file_bytes"] and _gigabytes(facts["file_bytes"]),
        **memory,
        "licence": facts["licence"],
        "Neuronpedia": facts["neuronpedia"],
        "note": facts["note"],
        "Python": facts["python"],
    }
    typer.echo(facts["id"])
    for name, value in shown.items():
        if value:
            typer.echo(f"  {name:<12}{value}")
    if backbone is None and facts["model"]:
        typer.echo(f"  (the size of {facts['model']} is not known; see whether `Encoder` reads models of its type)")


def _backbone_bytes(parameters: int | None) -> dict[str, int] | None:
    return None if parameters is None else {dtype: parameters * size for dtype, size in DTYPE_BYTES.items()}


def _scale(sae: SparseAutoencoder) -> str:
    """Which states a loaded SAE takes."""
    parts = ["states as they are" if sae.input_norm is None else f"states after a {sae.input_norm.kind} of each token"]
    if sae.apply_b_dec_to_input:
        parts.append("less b_dec")
    if sae.encoder_scale is not None:
        parts.append(f"pre-activations times {sae.encoder_scale.min():.3g} to {sae.encoder_scale.max():.3g}")
    return ", ".join(parts)


def _size(path: Path) -> int | None:
    """Bytes of a file, or of all below a folder; None for what is not here under this name."""
    if path.is_file():
        return path.stat().st_size
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else []
    return sum(file.stat().st_size for file in files) or None


def _from_depth(entry: CatalogueEntry) -> float:
    """How far from two thirds of the depth, in blocks that have run."""
    return abs(entry.layer + 1 - _DEPTH * entry.model.blocks)


def _gigabytes(size: int | None) -> str:
    if size is None:
        return ""
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _ranges(numbers: Sequence[int]) -> str:
    """Sorted numbers, those in a row as one range: "0-25", "7 13 17 22"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return " ".join(f"{first}-{last}" if last > first else f"{first}" for first, last in runs)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns in line; the last may be of any length."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        typer.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip())
