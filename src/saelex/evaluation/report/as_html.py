"""A report as one HTML page."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from saelex.evaluation.drawing.pages import html_page, inline_svg
from saelex.evaluation.report.blocks import (
    Block,
    Cell,
    Code,
    Column,
    Definitions,
    Figure,
    Paragraph,
    Report,
    Section,
    Table,
)


def as_html(report: Report) -> str:
    """The page; it refers to nothing but itself."""
    links = "".join(f'<li><a href="#part-{i}">{escape(one.title)}</a></li>' for i, one in enumerate(report.sections))
    sections = "\n".join(
        f'<section id="part-{i}">{_heading(one.title, 2)}\n{_blocks(one.blocks, 3)}</section>'
        for i, one in enumerate(report.sections)
    )
    body = f"""<header><h1>{escape(report.title)}</h1>
<p>{escape(report.lead)}</p>
<nav aria-label="Contents"><ul>{links}</ul></nav></header>
{sections}"""
    return html_page(report.title, body, _STYLE)


def _blocks(blocks: Iterable[Block], level: int) -> str:
    return "\n".join(_block(block, level) for block in blocks)


def _block(block: Block, level: int) -> str:
    if isinstance(block, Section):
        return f"<section>{_heading(block.title, level)}\n{_blocks(block.blocks, level + 1)}</section>"
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Paragraph):
        return f"<p{_NOTE if block.note else ''}>{escape(block.text)}</p>"
    if isinstance(block, Definitions):
        return f"<dl>{''.join(f'<dt>{escape(a)}</dt><dd>{escape(b)}</dd>' for a, b in block.entries)}</dl>"
    if isinstance(block, Code):
        return f"<pre>{escape(block.text)}</pre>"
    return _figure(block)


def _heading(title: str, level: int) -> str:
    level = min(level, 6)
    return f"<h{level}>{escape(title)}</h{level}>"


def _table(table: Table) -> str:
    columns = "".join(f'<th scope="col"{_side(column)}>{_title(column)}</th>' for column in table.columns)
    rows = "".join(
        f'<tr><th scope="row">{_cell(row[0])}</th>'
        + "".join(
            f"<td{_side(column)}{_heat(cell)}>{_cell(cell)}</td>" for column, cell in zip(table.columns[1:], row[1:])
        )
        + "</tr>\n"
        for row in table.rows
    )
    # a wide table scrolls by itself, by keyboard too; the page never does
    heat = ' class="heat"' if any(cell.heat is not None for row in table.rows for cell in row) else ""
    return f"""<div class="scroll" role="region" tabindex="0" aria-label="{escape(table.caption)}"><table{heat}>
<caption>{escape(table.caption)}</caption>
<thead><tr>{columns}</tr></thead>
<tbody>
{rows}</tbody></table></div>"""


def _title(column: Column) -> str:
    """A column's heading, which may break after a slash: figures are narrower."""
    return escape(column.title).replace("/", "/<wbr>")


def _side(column: Column) -> str:
    return ' class="figure"' if column.number else ""


def _heat(cell: Cell) -> str:
    """The page's own blue over its paper, in light and in dark, never so strong that the number is hard to read."""
    return "" if cell.heat is None else f' style="--heat: {_HOTTEST * cell.heat:.0f}%"'


def _cell(cell: Cell) -> str:
    text = f"<b>{escape(cell.text)}</b>" if cell.best else escape(cell.text)
    if cell.mark:
        meaning = escape(cell.meaning)
        text += f'<span class="sign" role="img" aria-label="{meaning}" title="{meaning}">{escape(cell.mark)}</span>'
    if cell.share is not None:
        width = _BAR * cell.share  # the rest of its place stays empty, so that numbers stand in line
        text += f'<span class="bar" style="width: {width:.2f}rem; margin-right: {_BAR - width:.2f}rem"></span>'
    return text


def _figure(figure: Figure) -> str:
    drawing = inline_svg(figure.picture.svg(), figure.picture.name)
    drawing = drawing.replace("<svg ", f'<svg role="img" aria-label="{escape(figure.alt)}" ', 1)
    return f"<figure>{drawing}<figcaption>{escape(figure.caption)}</figcaption></figure>"


_BAR = 4  # rem
_HOTTEST = 60  # percent of the accent's colour
_NOTE = ' class="note"'
_STYLE = """
main { max-width: 84rem; } p, dl, pre { max-width: 60rem; }
.scroll table { font-size: .93em; } .scroll thead th { white-space: normal; vertical-align: bottom; }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; margin: .8rem 0 0; padding: 0; }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .4rem; overflow-wrap: anywhere; }
h4 { font-size: 1rem; margin: 1.6rem 0 .3rem; overflow-wrap: anywhere; }
h5 { font-size: .95rem; margin: 1.1rem 0 .3rem; overflow-wrap: anywhere; }
caption { text-align: left; color: var(--soft); padding: .2rem .6rem; }
.scroll { overflow-x: auto; margin: .4rem 0 .8rem; }
.scroll:focus-visible { outline: 2px solid var(--accent); }
.scroll th[scope=row] { position: sticky; left: 0; background: var(--paper); font-weight: 500; }
.scroll th, .scroll td { padding-inline: .45rem; } td { min-width: 3rem; } td:not(.figure) { min-width: 7rem; }
.sign { margin-left: .2em; }
.bar { display: inline-block; height: .6em; margin-left: .5em; background: var(--accent); print-color-adjust: exact; }
.heat { width: auto; } .heat td.figure { min-width: 2.6rem; text-align: center; border: 1px solid var(--paper); }
.heat td[style] { background: color-mix(in srgb, var(--accent) var(--heat), var(--paper)); }
.heat td[style] { print-color-adjust: exact; } .heat thead th { text-align: center; }
.heat caption { white-space: nowrap; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .1rem 1rem; font-size: .92em; }
dt { font-weight: 500; } dd { margin: 0; color: var(--soft); overflow-wrap: anywhere; }
figure { max-width: 34rem; margin: 1rem 0; } figcaption { color: var(--soft); font-size: .92em; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
@page { size: landscape; margin: 12mm; }
@media print {
  nav { display: none; } .scroll { overflow: visible; } .scroll table { font-size: 7.5pt; }
  td, td:not(.figure) { min-width: 0; }
}
"""
