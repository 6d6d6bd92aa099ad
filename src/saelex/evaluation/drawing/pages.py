"""What the project's reports share: one HTML page that needs nothing else, and the folder that a report lies in."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from pathlib import Path

from saelex import files
from saelex.errors import InputError

PAGE = "index.html"
LIGHT = {
    "ink": "#1a1c20",
    "soft": "#5c636e",
    "line": "#e3e6ea",
    "paper": "#ffffff",
    "shade": "#f4f5f7",
    "mark": "#ffe9a8",
    "accent": "#0072b2",
}
DARK = {
    "ink": "#e8eaed",
    "soft": "#a9b0ba",
    "line": "#3a3f47",
    "paper": "#15171b",
    "shade": "#1f2227",
    "mark": "#5c4a12",
    "accent": "#56b4e9",
}

_THEME = {
    "fill: #ffffff": "fill: none",
    "#000000": "var(--ink)",
    "#333333": "var(--ink)",
    "#595959": "var(--soft)",
    "#666666": "var(--soft)",
    "#ebebeb": "var(--line)",
}
"""Colours of the house style (`saelex.evaluation.drawing.plots`), and the page's in their place."""


def html_page(title: str, body: str, style: str = "") -> str:
    """A whole page: no network, no scripts; light or dark as the reader's system is, and light on paper.

    title: plain text. body: HTML. style: CSS after that of all pages.
    """
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def inline_svg(drawing: str, name: str) -> str:
    """An SVG file of matplotlib's as an element of a page: as wide as the page lets it, and in the page's colours.

    name: goes before every id, since a page has many drawings and ids are the page's; letters, digits and "-".
    """
    drawing = drawing[drawing.index("<svg") :]  # what stands before it belongs to a file, not to a page
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", drawing, count=1)
    drawing = drawing.replace(' height="', ' data-height="', 1)
    return re.sub(r"<[^>]+>", lambda tag: _own(tag.group(), name), drawing)  # words between tags stay as they are


def cut(text: str, length: int) -> str:
    """The text in one line of at most `length` characters: cut between words, with an ellipsis where something went.

    Scripts without spaces, and words longer than half of the line, are cut between characters.
    """
    line = " ".join(text.split())
    if len(line) <= length:
        return line
    end = line.rfind(" ", 0, length - 1)  # two characters go to the space and the ellipsis
    return f"{line[:end]} …" if end >= length // 2 else f"{line[: length - 1]}…"


def check_folder(folder: Path, names: Collection[str]) -> None:
    """Raises InputError unless the folder is missing, empty, or a report of these files and folders.

    Worth asking before minutes of work.
    """
    held = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if (folder.exists() and not folder.is_dir()) or held - set(names) or (held and PAGE not in held):
        raise InputError(f"{folder} exists and is no report; choose another folder")


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A folder to write a report in; it takes the place of `folder` when the block ends, and is removed when it fails.

    Raises InputError when it cannot be written.
    """
    with files.writing(folder), files.replacing_folder(folder) as made:
        yield made


def _own(tag: str, name: str) -> str:
    tag = re.sub(r'(\sid="|url\(#|href="#)', rf"\1{name}-", tag)
    for colour, own in _THEME.items():
        tag = tag.replace(colour, own)
    return tag


def _variables(colours: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


_STYLE = (
    f"""
:root {{ color-scheme: light dark; {_variables(LIGHT)} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}
"""
    + """
body { margin: 0; color: var(--ink); background: var(--paper); font: 15px/1.55 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
a { color: var(--accent); }
h1 { font-size: 1.6rem; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; border-bottom: 1px solid var(--line); padding-bottom: .25rem; }
h3 { font-size: 1rem; margin: 0; font-variant-numeric: tabular-nums; }
.note, .facts, .meaning { color: var(--soft); }
.note, .facts { margin: .2rem 0 .6rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; } thead th { color: var(--soft); font-weight: 500; }
.figure, .figures thead th { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; } figure svg { width: 100%; height: auto; } figure svg text { fill: var(--ink); }
mark { background: var(--mark); color: inherit; padding: 0 .15em; border-radius: 2px; white-space: pre-wrap; }
pre { background: var(--shade); padding: .8rem 1rem; overflow-x: auto; font-size: 12.5px; }
@media (max-width: 40rem) { main { padding: 1rem .8rem 3rem; } }
@media print {
  body { font-size: 9.5pt; } main { max-width: none; padding: 0; } pre { white-space: pre-wrap; }
  h2, h3 { break-after: avoid; } tr, figure, article { break-inside: avoid; }
}
"""
)
