"""`saelex export`: an index's vectors as a file for another engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saelex.cli.options import Moved, open_index
from saelex.errors import InputError


def export(
    path: Annotated[Path, typer.Argument(metavar="INDEX", help="An index that keeps forward rows.")],
    form: Annotated[
        str,
        typer.Option("--format", "-f", help="opensearch, opensearch-sparse-vector, qdrant, milvus or anserini."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="File for the documents.")],
    queries: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Queries to export as well, to FILE.queries: JSONL, TSV or BEIR folder."),
    ] = None,
    text: Annotated[bool, typer.Option(help="Export titles, texts and metadata too.")] = True,
    levels: Annotated[
        int | None, typer.Option(min=1, help="anserini only: the integer that the heaviest weight becomes (100).")
    ] = None,
    model: Moved = None,
) -> None:
    """Write the stored vectors, so that the other engine gives the same scores within its precision.

    FILE.settings.json holds what the engine has to be created with. Words are columns after the concepts.
    """
    from saelex.engines.anserini import Anserini
    from saelex.engines.export import export_index, make_format

    if levels is not None and form != "anserini":
        raise InputError(f"--levels is for anserini, not for {form}")
    chosen = make_format(form) if levels is None else Anserini(levels)

    from saelex.corpus.reading import read_queries

    asked = [] if queries is None else list(read_queries(queries))
    with open_index(path, model) as index:
        done = export_index(index, chosen, output, asked, with_text=text)
    empty = f" ({done.documents.empty} without any weight left out)" if done.documents.empty else ""
    typer.echo(f"{done.documents_path}: {done.documents.written:,} documents{empty}")
    if done.queries_path is not None:
        typer.echo(f"{done.queries_path}: {done.queries.written:,} queries")
    typer.echo(f"{done.settings_path}: what to create the engine's index with")
    typer.echo(chosen.limits, err=True)
