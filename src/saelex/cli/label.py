"""`saelex label`: what the latents of an index mean, derived from its own documents, and how true that is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saelex.cli.options import Moved, named_language, open_index
from saelex.errors import InputError

if TYPE_CHECKING:
    from saelex.concepts.judging import LabelReport
    from saelex.index.index import Index


def label(
    path: Annotated[Path, typer.Argument(metavar="INDEX", help="An index.")],
    judge: Annotated[bool, typer.Option(help="Judge the labels on held-out documents.")] = True,
    language: Annotated[
        str | None,
        typer.Option(
            "--language",
            metavar="CODE",
            help="Whose stop words and inflections count; the index's own unless given. Under auto a corpus of several "
            "languages gets labels in each, too.",
        ),
    ] = None,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write the labels as JSON lines, and derive none.")
    ] = None,
    import_: Annotated[
        Path | None,
        typer.Option(
            "--import", metavar="FILE", help="Take over labels from JSON lines (latent, label), and derive none."
        ),
    ] = None,
    model: Moved = None,
) -> None:
    """Derive labels of the concepts from the index's documents, without a language model, and store them beside it.

    A label that a user gave by --import stays when labels are derived again.
    """
    if export is not None and import_ is not None:
        raise InputError("--export and --import are two runs")
    with open_index(path, model) as index:
        if export is not None:
            typer.echo(f"{export}: {index.export_labels(export):,} labels")
            return
        if import_ is not None:
            typer.echo(f"{path}: {index.import_labels(import_):,} concepts have a label")
            return
        spoken = index.language if language is None else named_language(language)
        labelled = index.label(language=spoken, progress=True)
        languages = () if index.concepts is None else index.concepts.languages
        beside = f", some of them others in {', '.join(languages)}" if languages else ""
        typer.echo(f"{path}: {labelled:,} concepts have a label{beside}")
        if judge:
            try:
                typer.echo(str(judged(index, spoken)))
            except InputError as error:
                raise InputError(f"the labels are stored, but cannot be judged: {error}") from error


def judged(index: Index, language: str) -> LabelReport:
    """How well labels from four fifths of the documents predict where their latents fire in the others."""
    from saelex.concepts.judging import held_out, judge_labels
    from saelex.concepts.labels import derive_labels

    seen = index.firings(lambda name: not held_out(name), title="labels of 80 %")
    concepts = list(derive_labels(seen, index.n_latents, language=language))
    unseen = index.firings(held_out, title="judging")
    return judge_labels(concepts, unseen, language=language)
