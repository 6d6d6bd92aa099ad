"""docs/architecture.md is the map: every room is on it, and it points at nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAP = ROOT / "docs" / "architecture.md"
LINKED = {(MAP.parent / link).resolve() for link in re.findall(r"\]\(([^)#]+)[^)]*\)", MAP.read_text(encoding="utf-8"))}


def test_every_folder_of_the_package_is_on_the_map() -> None:
    rooms = {file.parent for file in (ROOT / "src" / "saelex").rglob("*.py")}
    assert len(rooms) > 20
    assert rooms - LINKED == set()


def test_every_link_of_the_map_leads_somewhere() -> None:
    assert LINKED
    assert [path for path in LINKED if not path.exists()] == []


def test_readme_leads_to_the_map() -> None:
    assert "(docs/architecture.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
