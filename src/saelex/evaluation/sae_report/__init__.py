"""A report on an SAE: how well it rebuilds states, how its latents fire and where, as a page and as JSON."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saelex.encoder.backbone import Backbone
from saelex.errors import InputError
from saelex.evaluation.sae_report.document import REPORT, document, to_json
from saelex.evaluation.sae_report.measuring import ReportSettings, Texts, measure
from saelex.sae.autoencoder import SparseAutoencoder

PAGE = "index.html"

__all__ = ["PAGE", "REPORT", "ReportSettings", "check_target", "report_saes"]


def report_saes(
    saes: Sequence[SparseAutoencoder],
    backbone: Backbone,
    texts: Texts,
    folder: str | Path,
    settings: ReportSettings | None = None,
    *,
    corpora: Sequence[str] = (),
    command: str = "",
    progress: bool = False,
) -> dict[str, Any]:
    """Measure SAEs on texts and write `index.html` and `report.json`, both or neither; returns what the JSON holds.

    saes: the one that is reported on first; the others stand beside it. All read the backbone's last block.
    texts: called anew for each of the (up to three) passes; gives the same texts in the same order.
    folder: made, or taken from an older report. corpora, command: for the record.

    Raises InputError where matplotlib is missing, the folder holds something else or the texts give no states, and
    MismatchError for an SAE of another model or layer.
    """
    folder = Path(folder)
    settings = settings or ReportSettings()
    check_target(folder)
    _check_matplotlib()
    measured = measure(saes, backbone, texts, settings, progress=progress)
    report = document(saes, backbone, texts, measured, settings, corpora=corpora, command=command)
    from saelex.evaluation.sae_report.page import page

    _write(folder, {REPORT: to_json(report), PAGE: page(report)})
    return report


def check_target(folder: Path) -> None:
    """Raises InputError where a report cannot be written; worth asking before minutes of work."""
    held = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if (folder.exists() and not folder.is_dir()) or held - {PAGE, REPORT}:
        raise InputError(f"{folder} exists and is no report; choose another --output folder")


def _check_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError("a report is drawn by matplotlib; install it with: pip install 'saelex[plots]'") from error


def _write(folder: Path, files: dict[str, str]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        made = Path(scratch) / "report"
        made.mkdir()
        for name, content in files.items():
            (made / name).write_text(content, encoding="utf-8", newline="\n")
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        made.rename(folder)
