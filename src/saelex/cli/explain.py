"""`saelex explain`: every reason for one document's score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saelex.cli.options import Add, Ban, Boost, Json, Moved, open_index, print_json
from saelex.errors import InputError

if TYPE_CHECKING:
    from saelex.index.hits import Hit
    from saelex.index.index import Index


def explain(
    path: Annotated[Path, typer.Argument(metavar="INDEX", help="An index.")],
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The query.")],
    document: Annotated[str, typer.Argument(metavar="DOCUMENT_ID", help="The document in question.")],
    boost: Boost = [],  # noqa: B006
    ban: Ban = [],  # noqa: B006
    add: Add = [],  # noqa: B006
    words: Annotated[bool, typer.Option(help="Match exact words beside concepts.")] = True,
    model: Moved = None,
    json: Json = False,
) -> None:
    """Everything that a document's score for a query is made of; #4711 is a concept's id, to steer by."""
    with open_index(path, model) as index:
        index.document(document)  # an id that is not there is another matter than a document that does not match
        hit = _find(index, query, document, boost=boost, ban=ban, add=add, words=words)
        if json:
            print_json({"query": query, **hit.to_json()})
        else:
            from saelex.cli.show import show_explanation

            typer.echo(f"rank {hit.rank} of {len(index):,} documents")
            show_explanation(hit.explain())


def _find(
    index: Index, query: str, document: str, *, boost: list[str], ban: list[str], add: list[str], words: bool
) -> Hit:
    """The document among the hits, looked for ever further down."""
    k = 100
    while True:
        hits = index.search(query, k, boost=boost, ban=ban, add=add, words=words)
        for hit in hits:
            if hit.id == document:
                return hit
        if len(hits) < k:
            raise InputError(f"document {document!r} scores 0: it shares no concept and no word with the query")
        k *= 10
