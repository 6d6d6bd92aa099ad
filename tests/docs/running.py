"""Runs the Python blocks of a page of the documentation as a reader would: in order, each with the names before it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGES = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[tuple[int, str]]:
    """Line and code of every block that opens with ```python alone; others are not meant to be run."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        yield text.count("\n", 0, match.start(1)) + 1, match[1]


def run_page(name: str) -> dict[str, Any]:
    """The names that the page's blocks leave. What they raise is raised, and its traceback shows the page's line."""
    page = PAGES / name
    names: dict[str, Any] = {"__name__": f"docs/{name}"}
    for line, code in blocks(page):
        exec(compile("\n" * (line - 1) + code, str(page), "exec"), names)
    return names
