"""`saelex merge`: few large segments out of many."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saelex.cli.options import Wait, open_index


def merge(
    path: Annotated[Path, typer.Argument(metavar="INDEX", help="An index.")],
    wait: Wait = 0.0,
) -> None:
    """Merge an index's segments and give the space of deleted documents back."""
    with open_index(path, wait=wait) as index:
        index.merge()
        typer.echo(f"{path}: merged")
