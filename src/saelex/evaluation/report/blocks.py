"""What a report is made of, before it is HTML or Markdown: plain text throughout, escaped where it is written out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from saelex.evaluation.drawing.plots import Picture

DASH = "–"
"""Stands where there is no value."""


@dataclass(frozen=True)
class Column:
    """A column's heading; `number`: its cells go to the right."""

    title: str
    number: bool = True


@dataclass(frozen=True)
class Cell:
    """One value of a table as it is shown.

    best: of its column. mark: a sign behind the text, `meaning` what it says. share: length of a bar beside the text,
    0 to 1. heat: how strong the cell's colour is, 0 to 1, in a table that is a heat map.
    """

    text: str
    best: bool = False
    mark: str = ""
    meaning: str = ""
    share: float | None = None
    heat: float | None = None


@dataclass(frozen=True)
class Table:
    """Rows under columns; the first cell of a row names it."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Paragraph:
    """Running text; a note is set smaller."""

    text: str
    note: bool = False


@dataclass(frozen=True)
class Definitions:
    """Terms with what they mean."""

    entries: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Code:
    """Lines to copy."""

    text: str


@dataclass(frozen=True)
class Figure:
    """A plot. alt: what it shows, for those who do not see it."""

    picture: Picture
    alt: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A titled part; sections may stand in sections."""

    title: str
    blocks: Sequence[Block]


Block = Table | Paragraph | Definitions | Code | Figure | Section


@dataclass(frozen=True)
class Report:
    """A whole report."""

    title: str
    lead: str
    sections: Sequence[Section]


def pictures_of(blocks: Sequence[Block]) -> list[Picture]:
    """The pictures of all figures, in order."""
    found: list[Picture] = []
    for block in blocks:
        if isinstance(block, Figure):
            found.append(block.picture)
        elif isinstance(block, Section):
            found += pictures_of(block.blocks)
    return found
