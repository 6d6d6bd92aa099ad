"""The folder beside an output in which an unfinished command keeps its parts, so that it can go on where it stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saelex.errors import InputError
from saelex.files import check_own, expanded, write_text
from saelex.reading.json_object import read_json
from saelex.training.mining.table import read_facts

PART = 500
"""Queries of one part."""
_SETTINGS = "settings.json"


def is_done(output: Path, facts: Mapping[str, Any]) -> bool:
    """Whether the output is there, made by the same command. Raises InputError where another one made it."""
    output = expanded(output)
    if not output.exists():
        return False
    _compare(read_facts(output), facts, f"{output}: exists already, made", "choose another --output, or delete it")
    return True


def work_folder(output: Path, settings: Mapping[str, Any]) -> Path:
    """`<output>.parts`, with the settings that decide its parts.

    Raises InputError where it holds the parts of a command with other settings.
    """
    output = expanded(output)
    folder = output.with_name(f"{output.name}.parts")
    check_own(folder, _SETTINGS)
    if (folder / _SETTINGS).exists():
        found = read_json(folder / _SETTINGS)
        _compare(found, settings, f"{folder}: holds parts of a run", "give the same command, or delete that folder")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / _SETTINGS, [json.dumps(settings, indent=2, ensure_ascii=False) + "\n"])
    return folder


def remove(folder: Path) -> None:
    """Delete the parts once they are joined."""
    shutil.rmtree(folder)


def _compare(found: Mapping[str, Any], wanted: Mapping[str, Any], what: str, remedy: str) -> None:
    wanted = json.loads(json.dumps(wanted))  # tuples become lists, as in what was read
    for name in dict.fromkeys([*wanted, *found]):
        if found.get(name) != wanted.get(name):
            old, new = (json.dumps(values.get(name), ensure_ascii=False)[:200] for values in (found, wanted))
            raise InputError(f"{what} with other settings ({name} {old}, now {new}); {remedy}")
