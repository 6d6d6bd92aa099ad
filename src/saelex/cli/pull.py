"""`saelex pull`: what an engine holds, as an index on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saelex.cli.options import load_encoder


def pull(
    url: Annotated[str, typer.Argument(metavar="URL", help="An engine that `saelex push` filled.")],
    path: Annotated[Path, typer.Argument(metavar="INDEX", help="A new index.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The encoder that made it, where its folder has moved since.")
    ] = None,
) -> None:
    """Make an index of what an engine holds: documents, vectors, words and labels. It gives the same hits."""
    from saelex.engines.pull import pull as pull_index

    with pull_index(url, path, None if model is None else load_encoder(model), progress=True) as index:
        typer.echo(f"{path}: {len(index):,} documents")
