"""`saelex recipes`: the recipes that come with saelex."""

from __future__ import annotations

import typer


def recipes() -> None:
    """List the recipes that come with saelex; train, train-sae, mntp and label-free take their names."""
    from saelex.recipe import shipped_recipes

    for name, path in shipped_recipes().items():
        # the first comment is the command, the second says what it makes
        lines = [line.lstrip("# ") for line in path.read_text(encoding="utf-8").splitlines()]
        typer.echo(f"{name:32} {next(filter(None, lines[1:]), '')}")
