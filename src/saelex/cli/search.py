"""`saelex search`: hits of a query, with reasons and with concepts turned up, down or off."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from saelex.cli.options import (
    Add,
    Ban,
    Boost,
    Json,
    Moved,
    Reader,
    Where,
    open_index,
    print_json,
    read_where,
    say_where_lacking,
)

if TYPE_CHECKING:
    from saelex.index.request import Mode


def search(
    path: Annotated[Path, typer.Argument(metavar="INDEX", help="An index.")],
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for.")],
    k: Annotated[int, typer.Option("-k", "--hits", min=1, help="Number of hits.")] = 10,
    mode: Annotated[str, typer.Option(help="exact, capped or two_step.")] = "exact",
    explain: Annotated[
        bool, typer.Option("--explain", "-e", help="Say why: concepts, and the words they fired at.")
    ] = False,
    boost: Boost = [],  # noqa: B006
    ban: Ban = [],  # noqa: B006
    add: Add = [],  # noqa: B006
    where: Where = [],  # noqa: B006
    words: Annotated[bool, typer.Option(help="Match exact words beside concepts.")] = True,
    language: Reader = None,
    model: Moved = None,
    json: Json = False,
) -> None:
    """Search an index. Concepts are named by label words, by id (`saelex explain` shows them), or as word:NAME.

    --json gives {"query", "hits": [...]}: rank, id, score, title, text, url, metadata, explanation (all contributions).
    """
    from saelex.index.request import check_search

    filters = read_where(where)
    check_search(k, mode, language)  # before a model is loaded
    with open_index(path, model) as index:
        hits = index.search(
            query,
            k,
            mode=cast("Mode", mode),
            boost=boost,
            ban=ban,
            add=add,
            where=filters,
            words=words,
            language=language,
        )
        say_where_lacking(index, language)
        if json:
            from saelex.index.hits import hits_to_json

            print_json(hits_to_json(query, hits))
        else:
            from saelex.cli.show import show_hits

            show_hits(query, hits, explain)
