"""`saelex index`: a corpus in, an index out."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saelex.cli.check import check as check_index
from saelex.cli.delete import delete as delete_documents
from saelex.cli.merge import merge as merge_index
from saelex.cli.options import (
    DEFAULT_MODEL,
    IdField,
    Language,
    Precision,
    Runtime,
    TextField,
    TitleField,
    Wait,
    load_encoder,
    named_language,
    stopping_in_order,
)
from saelex.errors import InputError
from saelex.files import expanded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from saelex.corpus.documents import Document
    from saelex.encoder.encoder import Encoder


def index(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE INDEX",
            help="SOURCE: JSONL, CSV or TSV (perhaps gzipped), a BEIR folder, a folder or file of Markdown, text, "
            "HTML, PDF or DOCX, or - for JSONL on stdin.",
        ),
    ],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help=f"Embedded model, folder or hub id; {DEFAULT_MODEL} if new.")
    ] = None,
    runtime: Runtime = "auto",
    precision: Precision = None,
    words: Annotated[
        bool | None, typer.Option("--words/--no-words", help="New index: match exact words beside concepts (default).")
    ] = None,
    forward: Annotated[
        bool | None,
        typer.Option(
            "--forward/--no-forward",
            help="New index: keep vectors row by row too (default): twice the size; labels are derived from them.",
        ),
    ] = None,
    pruned: Annotated[
        bool | None,
        typer.Option("--pruned/--no-pruned", help="New index: keep what capped and two_step searches read, too."),
    ] = None,
    language: Language = None,
    id_field: IdField = None,
    text_field: TextField = None,
    title_field: TitleField = None,
    labels: Annotated[
        bool | None,
        typer.Option("--labels/--no-labels", help="Derive the concepts' labels from the documents (default)."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on: skip what is in the index already.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Replace documents that have the same id.")] = False,
    wait: Wait = 0.0,
    # what these did before they were commands of their own
    delete: Annotated[list[str], typer.Option("--delete", hidden=True)] = [],  # noqa: B006
    merge: Annotated[bool, typer.Option("--merge", hidden=True)] = False,
    check: Annotated[bool, typer.Option("--check", hidden=True)] = False,
) -> None:
    """Index a corpus. A source that is added to an index that exists needs --resume or --update.

    `saelex delete`, `saelex merge` and `saelex check` look after an index.
    """
    from saelex.corpus.reading import read_corpus

    upkeep = bool(delete or merge or check)
    if len(paths) > 2 or (len(paths) == 1 and not upkeep):
        raise InputError("give SOURCE and INDEX")
    if resume and update:
        raise InputError("--resume skips what is there and --update replaces it; choose one")
    target = expanded(paths[-1])
    if len(paths) == 2:
        # before a model is loaded
        if language is not None:
            named_language(language)
        if labels and forward is False:
            raise InputError("--labels are derived from forward rows; leave out --no-forward")
        settings = {"words": words, "language": language, "forward": forward, "pruned": pruned}
        given = {name: value for name, value in settings.items() if value is not None}
        # a source that is missing stops us before anything is made
        documents = read_corpus(paths[0], id_field=id_field, text_field=text_field, title_field=title_field)
        load = _loader(target, model, runtime, precision)
        _fill(paths[0], documents, target, load, given, resume=resume, update=update, labels=labels, wait=wait)
    elif (
        model
        or runtime != "auto"
        or precision
        or resume
        or update
        or any(one is not None for one in (words, forward, pruned, language, labels, id_field, text_field, title_field))
    ):
        raise InputError("these options are of a SOURCE; give SOURCE and INDEX")
    if delete:
        delete_documents(target, delete, wait)
    if merge:
        merge_index(target, wait)
    if check:
        check_index(target)


def _loader(target: Path, model: str | None, runtime: str, precision: str | None) -> Encoder | Callable[[], Encoder]:
    """The encoder, or what loads it where the index turns out to be new: one that exists has an encoder of its own."""
    if model:
        return load_encoder(model, runtime, precision)
    if target.exists() and (runtime != "auto" or precision):
        raise InputError("--runtime and --precision are of a model; name that of the index with --model")
    return partial(load_encoder, DEFAULT_MODEL, runtime, precision)


def _fill(
    source: str,
    documents: Iterator[Document],
    target: Path,
    encoder: Encoder | Callable[[], Encoder],
    settings: dict[str, Any],
    *,
    resume: bool,
    update: bool,
    labels: bool | None,
    wait: float,
) -> None:
    new = not target.exists()
    if not (new or resume or update):
        raise InputError(f"{target}: exists already; add --resume to go on with it, or --update to replace documents")
    from saelex.index.index import Index

    with Index.at(target, encoder, wait=wait, **settings) as index:
        try:
            if labels and not index.settings["forward"]:
                raise InputError(f"{target}: keeps no forward rows, which labels are derived from; leave out --labels")
            with stopping_in_order():
                report = index.fill(documents, resume=resume, update=update, labels=labels is not False, progress=True)
            if new and not len(index):
                raise InputError(f"{source}: holds no document; nothing was indexed")
        except BaseException:
            if new and not len(index):
                index.close()
                shutil.rmtree(target)  # nothing came of it, so nothing is left to be in the way of the next try
            raise
        typer.echo(f"{target}: {len(index):,} documents; {report}")
