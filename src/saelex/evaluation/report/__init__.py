"""An evaluation as something to read: a page, the same in Markdown with its plots as files, and the JSON of both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saelex.errors import InputError
from saelex.evaluation.drawing.pages import PAGE, check_folder, replacing_folder
from saelex.evaluation.drawing.plots import check_matplotlib
from saelex.evaluation.languages.matrix import LanguageEvaluation
from saelex.evaluation.report.as_html import as_html
from saelex.evaluation.report.as_markdown import FIGURES, as_markdown
from saelex.evaluation.report.blocks import Report, pictures_of
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
from saelex.evaluation.report.languages import language_report_of
from saelex.evaluation.report.reasons import index_reasons, indexed_examples
from saelex.evaluation.results import Evaluation
from saelex.files import expanded

MARKDOWN, EXAMPLES = "report.md", "examples.json"

__all__ = [
    "EVALUATION", "EXAMPLES", "MARKDOWN", "PAGE", "Choices", "CollectionExamples", "Examples", "ExplainedHit",
    "QueryExample", "RankedDocument", "ReportOptions", "check_target", "choices_of", "collection_key",
    "gather_examples", "index_reasons", "indexed_examples", "write_language_report", "write_report",
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
    files = {EVALUATION: evaluation.to_json()}
    if examples is not None:
        files[EXAMPLES] = examples.to_json()
    return _write(report, folder, files)


def write_language_report(evaluation: LanguageEvaluation, folder: Path) -> Path:
    """The report of an evaluation over languages, with heat maps: `index.html`, `report.md` and `evaluation.json`.

    folder: as for `write_report`. Raises InputError as that does.
    """
    folder = expanded(folder)
    check_target(folder)
    return _write(language_report_of(evaluation), folder, {EVALUATION: evaluation.to_json()})


def _write(report: Report, folder: Path, values: Mapping[str, Any]) -> Path:
    """The page, the same in Markdown with its pictures, and JSON values by the name of their file."""
    texts = {PAGE: as_html(report), MARKDOWN: as_markdown(report)}
    texts |= {name: json.dumps(content, ensure_ascii=False) + "\n" for name, content in values.items()}
    pictures = pictures_of(report.sections)
    with replacing_folder(folder) as made:
        if pictures:
            (made / FIGURES).mkdir()
        for picture in pictures:
            picture.save(made / FIGURES)
        for name, text in texts.items():
            (made / name).write_text(text, encoding="utf-8", newline="\n")
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
