"""`saelex index`: a corpus in, an index out; and the upkeep of one."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saelex.cli.options import DEFAULT_MODEL, load_encoder, open_index, show_progress
from saelex.errors import InputError, SaelexError

if TYPE_CHECKING:
    from saelex.corpus.documents import Document
    from saelex.index.index import Index


def index(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="[SOURCE] INDEX", help="SOURCE: JSONL, TSV (perhaps gzipped), BEIR folder, or - for JSONL on stdin."
        ),
    ],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help=f"Embedded model, folder or hub id; {DEFAULT_MODEL} if new.")
    ] = None,
    words: Annotated[bool, typer.Option(help="Match exact words beside concepts.")] = True,
    forward: Annotated[
        bool, typer.Option(help="Keep vectors row by row too: twice the size; labels, capped and two_step need it.")
    ] = True,
    labels: Annotated[bool, typer.Option(help="Derive the concepts' labels from the documents.")] = True,
    resume: Annotated[bool, typer.Option("--resume", help="Go on: skip what is in the index already.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Replace documents that have the same id.")] = False,
    delete: Annotated[list[str], typer.Option("--delete", metavar="ID", help="Delete a document; repeatable.")] = [],  # noqa: B006
    merge: Annotated[bool, typer.Option("--merge", help="Merge segments and drop deleted documents.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Verify every file of the index.")] = False,
) -> None:
    """Index a corpus; or look after an index: --delete, --merge and --check, in this order.

    A source that is added to an index that exists needs --resume or --update.
    """
    if len(paths) > 2 or (len(paths) == 1 and not (delete or merge or check)):
        raise InputError("give SOURCE and INDEX; --check, --merge and --delete take INDEX alone")
    if resume and update:
        raise InputError("--resume skips what is there and --update replaces it; choose one")
    target = Path(paths[-1])
    if len(paths) == 2:
        _add(paths[0], target, model, words=words, forward=forward, labels=labels, resume=resume, update=update)
    if delete or merge or check:
        _look_after(target, delete, merge, check)


def _add(
    source: str,
    target: Path,
    model: str | None,
    *,
    words: bool,
    forward: bool,
    labels: bool,
    resume: bool,
    update: bool,
) -> None:
    from saelex.corpus.reading import read_corpus

    documents = read_corpus(source)  # a source that is missing stops us before anything is made
    if target.exists() and not (resume or update):
        raise InputError(f"{target}: exists already; add --resume to go on with it, or --update to replace documents")
    new = not target.exists()
    with _opened(target, model, words, forward) as index:
        try:
            report = fill(index, documents, resume=resume, update=update, labels=labels and forward)
            if new and not len(index):
                raise InputError(f"{source}: holds no document; nothing was indexed")
        except BaseException:
            if new and not len(index):
                index.close()
                shutil.rmtree(target)  # nothing came of it, so nothing is left to be in the way of the next try
            raise
        typer.echo(f"{target}: {len(index):,} documents; {report}")


def _opened(target: Path, model: str | None, words: bool, forward: bool) -> Index:
    from saelex.index.index import Index

    if target.exists():
        return open_index(target, model)
    return Index.create(target, load_encoder(model or DEFAULT_MODEL), words=words, forward=forward)


def fill(
    index: Index, documents: Iterable[Document], *, resume: bool = False, update: bool = False, labels: bool = True
) -> str:
    """Add documents, then derive labels; returns what was done, in words."""
    if update:
        report = index.update(documents, progress=show_progress())
    else:
        report = index.add(documents, resume=resume, progress=show_progress())
    done = f"{report.added:,} added"
    done += f" ({report.replaced:,} replaced)" if report.replaced else ""
    done += f", {report.skipped:,} there already" if report.skipped else ""
    if labels and (report.added or index.concepts is None) and len(index):
        done += f", {index.label(progress=show_progress()):,} concepts labelled"
    return done


def _look_after(target: Path, delete: list[str], merge: bool, check: bool) -> None:
    from saelex.index.index import Index

    with Index.open(target) as index:
        if delete:
            index.delete(delete)
            typer.echo(f"{target}: {len(delete):,} deleted, {len(index):,} documents left")
        if merge:
            index.merge()
            typer.echo(f"{target}: merged")
        if check:
            report = index.check()
            typer.echo(str(report))
            if report.problems:
                raise SaelexError(
                    f"{target}: {len(report.problems)} problems found; restore it from a copy or build it anew"
                )
