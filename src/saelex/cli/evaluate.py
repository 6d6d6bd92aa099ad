"""`saelex evaluate`: the encoder on test collections, beside BM25 and the dense backbone."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saelex.cli.encode import read_top_k
from saelex.cli.options import DEFAULT_MODEL, Model, load_encoder, show_progress
from saelex.errors import InputError

if TYPE_CHECKING:
    from saelex.evaluation.evaluate import Row


def evaluate(
    paths: Annotated[list[str], typer.Argument(metavar="FOLDER[:SPLIT]...", help="Test collections in BEIR's layout.")],
    model: Model = DEFAULT_MODEL,
    split: Annotated[str, typer.Option(help="Split of the folders that name none.")] = "test",
    against: Annotated[list[str], typer.Option(help="bm25 or dense (the backbone's own embedding); repeatable.")] = [],  # noqa: B006
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; or, with a FILE.json after it, write it there beside the table.")
    ] = False,
    top_k: Annotated[
        str,
        typer.Option(metavar="QUERY/DOCUMENT", help="Latents kept: 40/400, all/all; default/default: the model's own."),
    ] = "default/default",
) -> None:
    """nDCG@10, MRR@10 and R@100, through a real index, of concepts alone and of concepts with words.

    Ties go to the smaller document id. "latents" are the active columns of a mean query and of a mean passage.
    """
    unknown = set(against) - {"bm25", "dense"}
    if unknown:
        raise InputError(f"--against takes bm25 and dense, not {min(unknown)!r}")
    query_k, separator, document_k = top_k.partition("/")
    if not separator:
        raise InputError(f"--top-k is QUERY/DOCUMENT, as in 40/400, not {top_k!r}")
    kept = read_top_k(query_k), read_top_k(document_k)

    # an option whose value may be left out would swallow the folder after it, so the file comes with the folders
    files = [path for path in paths if path.endswith(".json")]
    folders = [path for path in paths if path not in files]
    if len(files) > as_json or not folders:
        raise InputError("give folders in BEIR's layout, and a FILE.json at most once, with --json")

    from saelex.corpus.collection import named_split, read_collection
    from saelex.evaluation.evaluate import evaluate_collections, mean_rows

    collections = [read_collection(*named_split(folder, split)) for folder in folders]
    encoder = load_encoder(model)
    settings = encoder.settings
    encoder.settings = replace(
        settings, query_top_k=settings.top_k("query", kept[0]), document_top_k=settings.top_k("document", kept[1])
    )
    rows = list(evaluate_collections(collections, encoder, against=against, progress=show_progress()))
    if len(collections) > 1:
        rows += mean_rows(rows)
    if as_json:
        text = json.dumps([row.to_json() for row in rows], indent=2) + "\n"
        if not files:
            sys.stdout.write(text)
            return
        from saelex.files import write_text

        write_text(Path(files[0]), [text])
    _print_table(rows)


def _print_table(rows: list[Row]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    # wide enough for every column: a number that is cut off helps nobody, wherever the lines wrap
    console.width = max(console.width, 120)
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else box.ASCII2)
    for column in ("set", "system"):
        table.add_column(column, no_wrap=True)
    for column in ("nDCG@10", "MRR@10", "R@100", "queries", "documents", "top-k", "latents q/d"):
        table.add_column(column, justify="right", no_wrap=True)
    best: dict[tuple[str, str], float] = {}
    for row in rows:
        best[row.collection, row.split] = max(best.get((row.collection, row.split), 0.0), row.measures["nDCG@10"])
    for i, row in enumerate(rows):
        ends = i + 1 == len(rows) or (rows[i + 1].collection, rows[i + 1].split) != (row.collection, row.split)
        first = row.measures["nDCG@10"] == best[row.collection, row.split]
        latents = "" if row.query_latents is None else f"{row.query_latents:.0f}/{row.document_latents:.0f}"
        table.add_row(
            f"{row.collection}:{row.split}" if row.split else row.collection,
            row.system,
            *(f"{value:.3f}" for value in row.measures.values()),
            str(row.queries),
            str(row.documents),
            row.top_k,
            latents,
            style="bold" if first else "",
            end_section=ends,
        )
    console.print(table)
