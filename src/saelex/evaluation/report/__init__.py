"""An evaluation as something to read: a page, the same in Markdown with its plots as files, and the JSON of both."""

from __future__ import annotations

import json
from pathlib import Path

from saelex.errors import InputError
from saelex.evaluation.drawing.pages import PAGE, check_folder, replacing_folder
from saelex.evaluation.drawing.plots import check_matplotlib
from saelex.evaluation.report.as_html import as_html
from saelex.evaluation.report.as_markdown import FIGURES, as_markdown
from saelex.evaluation.report.blocks import pictures_of
from saelex.evaluation.report.choices import EVALUATION, Choices, ReportOptions, choices_of, collection_key
from saelex.evaluation.report.content import report_of
from saelex.evaluation.report.examples import (
    CollectionExamples,
    Examples,
    ExplainedHit,
    QueryExample,
    RankedDocument,
    gather_examples,
)
from saelex.evaluation.report.reasons import index_reasons, indexed_examples
from saelex.evaluation.results import Evaluation
from saelex.files import expanded

MARKDOWN, EXAMPLES = "report.md", "examples.json"

__all__ = [
    "EVALUATION", "EXAMPLES", "MARKDOWN", "PAGE", "Choices", "CollectionExamples", "Examples", "ExplainedHit",
    "QueryExample", "RankedDocument", "ReportOptions", "check_target", "choices_of", "collection_key",
    "gather_examples", "index_reasons", "indexed_examples", "write_report",
]  # fmt: skip


def write_report(
    evaluation: Evaluation, folder: Path, *, examples: Examples | None, options: ReportOptions | None = None
) -> Path:
    """Write a report into the folder, whole or not at all, and return the page's path.

    `index.html` needs nothing else; `report.md` says the same, with its plots in `figures/` as PNG and SVG.
    `evaluation.json` is `Evaluation.to_json`, `examples.json` `Examples.to_json`, where there are examples.

    folder: made, or taken from an older report. examples: queries that show the difference of a pair (see
    `gather_examples`); their pair and measure are then the report's. options: what to put forward. The same evaluation
    and examples give the same bytes.

    Raises InputError where matplotlib is missing, the folder holds something else or cannot be written, the evaluation
    is empty, or a name in the options or the examples is not in it.
    """
    folder = expanded(folder)
    check_target(folder)
    choices = choices_of(evaluation, _options(options or ReportOptions(), examples))
    report = report_of(evaluation, choices, examples)
    files = {PAGE: as_html(report), MARKDOWN: as_markdown(report), EVALUATION: _json(evaluation.to_json())}
    if examples is not None:
        files[EXAMPLES] = _json(examples.to_json())
    with replacing_folder(folder) as made:
        (made / FIGURES).mkdir()
        for picture in pictures_of(report.sections):
            picture.save(made / FIGURES)
        for name, content in files.items():
            (made / name).write_text(content, encoding="utf-8", newline="\n")
    return folder / PAGE


def check_target(folder: Path) -> None:
    """Raises InputError where a report cannot be written; worth asking before minutes of work."""
    check_matplotlib("a report")
    check_folder(folder, {PAGE, MARKDOWN, EVALUATION, EXAMPLES, FIGURES})


def _options(options: ReportOptions, examples: Examples | None) -> ReportOptions:
    if examples is None:
        return options
    pair = examples.first, examples.second
    if options.pair not in (None, pair) or options.measure not in (None, examples.measure):
        raise InputError(
            f"the examples are of {pair[0]} against {pair[1]} under {examples.measure}; gather them for the pair and "
            "measure that the report is to show"
        )
    return ReportOptions(examples.measure, options.reference, pair, options.test, options.alpha)


def _json(values: object) -> str:
    return json.dumps(values, ensure_ascii=False) + "\n"
