"""Tables of figures on the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def new_table(words: Iterable[str], figures: Iterable[str]) -> Table:
    """A table whose first columns hold words, and whose others hold figures, to the right; nothing is ever cut off."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD if sys.stdout.isatty() else box.ASCII2)
    for column in words:
        table.add_column(column, no_wrap=True)
    for column in figures:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def print_table(table: Table, notes: Iterable[str] = ()) -> None:
    """To stdout, as wide as it is: a number that is cut off helps nobody, wherever the lines wrap. Notes below it."""
    from rich.console import Console

    # names of systems and files are shown as they are: [x] is no markup, :x: no emoji
    console = Console(highlight=False, markup=False, emoji=False)
    wide = console.options.update(width=10_000)
    console.width = max(console.width, console.measure(table, options=wide).maximum)
    console.print(table)
    for note in notes:
        console.print(note, soft_wrap=True)
