"""A report on an SAE: how well it rebuilds states, how its latents fire and where, as a page and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saelex.encoder.backbone.backbone import Backbone
from saelex.evaluation.drawing.pages import PAGE, check_folder, replacing_folder
from saelex.evaluation.drawing.plots import check_matplotlib
from saelex.evaluation.sae_report.document import REPORT, document, to_json
from saelex.evaluation.sae_report.measuring import ReportSettings, Texts, measure
from saelex.files import expanded
from saelex.sae.autoencoder import SparseAutoencoder

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
    folder = expanded(folder)
    settings = settings or ReportSettings()
    check_target(folder)
    check_matplotlib("a report")
    measured = measure(saes, backbone, texts, settings, progress=progress)
    report = document(saes, backbone, texts, measured, settings, corpora=corpora, command=command)
    from saelex.evaluation.sae_report.page import page

    files = {REPORT: to_json(report), PAGE: page(report)}
    with replacing_folder(folder) as made:
        for name, content in files.items():
            (made / name).write_text(content, encoding="utf-8", newline="\n")
    return report


def check_target(folder: Path) -> None:
    """Raises InputError where a report cannot be written; worth asking before minutes of work."""
    check_folder(folder, {PAGE, REPORT})
