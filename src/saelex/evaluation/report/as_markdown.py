"""A report as Markdown (GitHub's tables), with its pictures as files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape

from saelex.evaluation.report.blocks import Block, Cell, Code, Definitions, Figure, Paragraph, Report, Section, Table

FIGURES = "figures"
_LIST = re.compile(r"^(\d*)([-+.)])(?= )")
_SIGNS = re.compile(r"([\\`*_\[\]{}|~$#])")


def as_markdown(report: Report) -> str:
    """The text; pictures are named as `figures/<name>.png`."""
    parts = [f"# {_plain(report.title)}", _plain(report.lead)]
    parts += _blocks(report.sections, 2)
    return "\n\n".join(parts) + "\n"


def _blocks(blocks: Iterable[Block], level: int) -> Iterator[str]:
    for block in blocks:
        if isinstance(block, Section):
            yield f"{'#' * min(level, 6)} {_plain(block.title)}"
            yield from _blocks(block.blocks, level + 1)
        else:
            yield _block(block)


def _block(block: Table | Paragraph | Definitions | Code | Figure) -> str:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Paragraph):
        return _plain(block.text)
    if isinstance(block, Definitions):
        return "\n".join(f"- **{_plain(term)}**: {_plain(meaning)}" for term, meaning in block.entries)
    if isinstance(block, Code):
        # a fence longer than any run of backticks in the text
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", block.text)), default=0))
        return f"{fence}\n{block.text}\n{fence}"
    return f"![{_plain(block.alt)}]({FIGURES}/{block.picture.name}.png)\n\n{_plain(block.caption)}"


def _table(table: Table) -> str:
    lines = [
        [_plain(column.title) for column in table.columns],
        ["---:" if column.number else "---" for column in table.columns],
        *([_cell(cell) for cell in row] for row in table.rows),
    ]
    return f"{_plain(table.caption)}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(cell: Cell) -> str:
    text = _plain(cell.text)
    return (f"**{text}**" if cell.best and text else text) + (f" {_plain(cell.mark)}" if cell.mark else "")


def _plain(text: str) -> str:
    """The text as it is: nothing in it is markup, and it is one line."""
    line = _SIGNS.sub(r"\\\1", escape(" ".join(text.split()), quote=False))
    return _LIST.sub(r"\1\\\2", line)
