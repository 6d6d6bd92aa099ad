"""`saelex label`: what the latents of an index mean, by its own documents or as published, and how true that is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saelex.cli.options import Moved, named_language, open_index
from saelex.concepts.neuronpedia import MOST_FETCHED
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
    published: Annotated[
        bool,
        typer.Option(
            "--published",
            help="Ask Neuronpedia what its labels of the index's latents are, and store them beside the others, derive "
            "none. What was fetched is kept; a run that was stopped goes on.",
        ),
    ] = False,
    published_from: Annotated[
        Path | None,
        typer.Option(
            "--published-from",
            metavar="PATH",
            help="The same from a file of Neuronpedia's exports, or a folder of them (batch-0.jsonl.gz, ...).",
        ),
    ] = None,
    neuronpedia: Annotated[
        str | None,
        typer.Option(
            "--neuronpedia",
            metavar="MODEL/SOURCE",
            help="Where Neuronpedia shows the latents, as in gemma-2-2b/16-gemmascope-res-65k; the SAE's own unless "
            "given.",
        ),
    ] = None,
    most: Annotated[
        int,
        typer.Option(
            "--most", min=1, metavar="N", help="Latents that --published asks for in one run, the most frequent first."
        ),
    ] = MOST_FETCHED,
    model: Moved = None,
) -> None:
    """Derive labels of the concepts from the index's documents, without a language model, and store them beside it.

    A label that a user gave by --import, and what is published, stay when labels are derived again.
    """
    runs = {"--export": export, "--import": import_, "--published": published, "--published-from": published_from}
    named = [name for name, value in runs.items() if value not in (None, False)]
    if len(named) > 1:
        raise InputError(f"{named[0]} and {named[1]} are two runs")
    if neuronpedia is not None and not (published or published_from):
        raise InputError("--neuronpedia is for --published and --published-from")
    with open_index(path, model) as index:
        if export is not None:
            typer.echo(f"{export}: {index.export_labels(export):,} labels")
            return
        if import_ is not None:
            typer.echo(f"{path}: {index.import_labels(import_):,} concepts have a label")
            return
        if published:
            _fetch(index, neuronpedia, most)
            return
        if published_from is not None:
            count = index.import_published(published_from, neuronpedia)
            typer.echo(f"{path}: {count:,} concepts have a published label")
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


def _fetch(index: Index, source: str | None, most: int) -> None:
    """Fetch published labels and say how many; InputError, after that, where it ended early."""
    fetched = index.fetch_published(source, most=most, progress=True)
    typer.echo(
        f"{index.path}: {len(fetched.published):,} concepts have a published label ({fetched.asked:,} asked now)"
    )
    if fetched.stopped:
        raise InputError(f"{fetched.stopped}; what was found is stored and kept, and another run asks for the rest")
    if fetched.left:
        typer.echo(
            f"{fetched.left:,} latents are left: ask again, for more with --most, or take all of them from an export "
            "(--published-from)"
        )


def judged(index: Index, language: str) -> LabelReport:
    """How well labels from four fifths of the documents predict where their latents fire in the others."""
    from saelex.concepts.judging import held_out, judge_labels
    from saelex.concepts.labels import derive_labels

    seen = index.firings(lambda name: not held_out(name), title="labels of 80 %")
    concepts = list(derive_labels(seen, index.n_latents, language=language))
    unseen = index.firings(held_out, title="judging")
    return judge_labels(concepts, unseen, language=language)
