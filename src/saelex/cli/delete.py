"""`saelex delete`: documents out of an index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saelex.cli.options import Wait, open_index


def delete(
    path: Annotated[Path, typer.Argument(metavar="INDEX", help="An index.")],
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of the documents.")],
    wait: Wait = 0.0,
) -> None:
    """Delete documents, all in one commit; an id that is not there is an error, and nothing is deleted."""
    with open_index(path, wait=wait) as index:
        index.delete(ids)
        typer.echo(f"{path}: {len(ids):,} deleted, {len(index):,} documents left")
