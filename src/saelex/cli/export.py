"""`saelex export`: an index's vectors as a file for another engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saelex.cli.logs import say
from saelex.cli.options import IdField, Moved, TextField, open_index, print_settings
from saelex.errors import InputError


def _list_formats(wanted: bool) -> None:
    if not wanted:
        return
    from saelex.engines.files.format import formats

    for name, form in formats().items():
        typer.echo(f"{name}: {(form.__doc__ or '').splitlines()[0]}")
        print_settings(form, indent="    ")
    raise typer.Exit


def export(
    path: Annotated[Path, typer.Argument(metavar="INDEX", help="An index that keeps forward rows.")],
    form: Annotated[str, typer.Option("--format", "-f", metavar="NAME", help="One of those that --formats lists.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="File for the documents.")],
    queries: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE", help="Queries to export as well, to FILE.queries: JSONL, CSV, TSV or BEIR folder."
        ),
    ] = None,
    id_field: IdField = None,
    text_field: TextField = None,
    text: Annotated[bool, typer.Option(help="Export titles, texts and metadata too.")] = True,
    set_: Annotated[
        list[str], typer.Option("--set", metavar="NAME=VALUE", help="Change a setting of the format.")
    ] = [],  # noqa: B006
    model: Moved = None,
    formats: Annotated[
        bool,
        typer.Option("--formats", callback=_list_formats, is_eager=True, help="List formats and settings and stop."),
    ] = False,
) -> None:
    """Write the stored vectors, so that the other engine gives the same scores within its precision.

    FILE.settings.json holds what the engine has to be created with. Words are columns after the concepts.
    """
    from saelex.engines.files.format import make_format

    chosen = make_format(form, set_)

    from saelex.corpus.reading import read_queries
    from saelex.engines.files.export import export_index

    if queries is None and (id_field or text_field):
        raise InputError("--id-field and --text-field are of --queries; leave them out")
    asked = [] if queries is None else list(read_queries(queries, id_field=id_field, text_field=text_field))
    with open_index(path, model) as index:
        done = export_index(index, chosen, output, asked, with_text=text)
    empty = f" ({done.documents.empty} without any weight left out)" if done.documents.empty else ""
    typer.echo(f"{done.documents_path}: {done.documents.written:,} documents{empty}")
    if done.queries_path is not None:
        typer.echo(f"{done.queries_path}: {done.queries.written:,} queries")
    typer.echo(f"{done.settings_path}: what to create the engine's index with")
    say(chosen.limits)
