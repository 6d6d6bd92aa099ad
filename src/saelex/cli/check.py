"""`saelex check`: is everything on disk as it was written?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saelex.cli.options import open_index
from saelex.errors import SaelexError


def check(path: Annotated[Path, typer.Argument(metavar="INDEX", help="An index.")]) -> None:
    """Verify every file of an index: checksums, orders, and that all parts agree."""
    with open_index(path) as index:
        report = index.check()
    typer.echo(str(report))
    if report.problems:
        raise SaelexError(f"{path}: {len(report.problems)} problems found; restore it from a copy or build it anew")
