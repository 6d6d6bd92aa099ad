"""`saelex explain`: every reason for one document's score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saelex.cli.options import Add, Ban, Boost, Json, Moved, Reader, open_index, print_json, say_where_lacking


def explain(
    path: Annotated[Path, typer.Argument(metavar="INDEX", help="An index.")],
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The query.")],
    document: Annotated[str, typer.Argument(metavar="DOCUMENT_ID", help="The document in question.")],
    boost: Boost = [],  # noqa: B006
    ban: Ban = [],  # noqa: B006
    add: Add = [],  # noqa: B006
    words: Annotated[bool, typer.Option(help="Match exact words beside concepts.")] = True,
    language: Reader = None,
    model: Moved = None,
    json: Json = False,
) -> None:
    """Everything that a document's score for a query is made of; #4711 is a concept's id, to steer by."""
    with open_index(path, model) as index:
        hit = index.find(query, document, boost=boost, ban=ban, add=add, words=words, language=language)
        say_where_lacking(index, language)
        if json:
            print_json({"query": query, **hit.to_json()})
        else:
            from saelex.cli.show import show_explanation

            typer.echo(f"rank {hit.rank} of {len(index):,} documents")
            show_explanation(hit.explain())
