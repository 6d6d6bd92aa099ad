"""`saelex search`: hits of a query, with reasons and with concepts turned up, down or off; or a run of many queries."""

from __future__ import annotations

import os
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
    is_url,
    open_searched,
    print_json,
    read_where,
    say_where_lacking,
)
from saelex.errors import InputError
from saelex.files import expanded

if TYPE_CHECKING:
    from saelex.index.request import Mode, SearchOptions

HITS, RUN_DEPTH = 10, 1000


def search(
    path: Annotated[
        str,
        typer.Argument(metavar="INDEX|URL", help="An index, or an engine that one was pushed to (docs/engines.md)."),
    ],
    query: Annotated[str | None, typer.Argument(metavar="QUERY", help="What to look for.")] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="In place of QUERY, with --run: JSONL, CSV or TSV (perhaps gzipped), a BEIR folder, or TREC topics.",
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What all --queries find, written as a TREC run.")
    ] = None,
    k: Annotated[
        int | None,
        typer.Option("-k", "--hits", min=1, help=f"Number of hits: {HITS}, or {RUN_DEPTH} of each query of a run."),
    ] = None,
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
    if query is not None:
        # read when numpy is imported: for the few tokens of one query its threads gain little, and wait long for each
        # other where the cores have other work
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from saelex.index.request import check_search

    if (query is None) == (queries is None) or (queries is None) != (run is None):
        raise InputError("give a QUERY, or --queries FILE and --run FILE")
    if run is not None and (explain or json or language is not None):
        raise InputError("a run holds ids and scores; leave out --explain, --json and --language")
    options: SearchOptions = {
        "mode": cast("Mode", mode), "boost": boost, "ban": ban, "add": add, "where": read_where(where), "words": words,
        "language": language,
    }  # fmt: skip
    check_search(k or HITS, mode, language)
    if is_url(path) and mode != "exact":
        raise InputError("--mode is of an index on disk; an engine searches as its URL says")
    if queries is not None and run is not None:
        _write_run(path, model, queries, run, k or RUN_DEPTH, options)
    elif query is not None:
        _show_hits(path, model, query, k or HITS, options, explain=explain, json=json)


def _show_hits(
    path: str, model: str | None, query: str, k: int, options: SearchOptions, *, explain: bool, json: bool
) -> None:
    with open_searched(path, model) as index:
        hits = index.search(query, k, **options)
        say_where_lacking(index, options["language"])
        if json:
            from saelex.index.hits import hits_to_json

            print_json(hits_to_json(query, hits))
        else:
            from saelex.cli.show import show_hits

            show_hits(query, hits, explain)


def _write_run(path: str, model: str | None, source: Path, target: Path, k: int, options: SearchOptions) -> None:
    """Whole or not at all; what is wrong with queries or target is said before anything is loaded."""
    from saelex.corpus.opening import open_queries
    from saelex.corpus.trec.columns import column
    from saelex.corpus.trec.runs import write_run

    texts = {column(query.id, "the query id"): query.text for query in open_queries(source)}
    if not texts:
        raise InputError(f"{source}: holds no query")
    if expanded(target).is_dir() or not expanded(target).parent.is_dir():
        raise InputError(f"{target}: cannot be written: it is a folder, or is to be in one that is not there")
    with open_searched(path, model) as index:
        from saelex.index.run import search_all

        found = search_all(index, texts, k, title="search", **options)
        write_run(target, found)
    typer.echo(f"{target}: {len(found):,} queries, {sum(map(len, found.values())):,} hits")
