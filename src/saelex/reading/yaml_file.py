"""YAML, as recipes are written in it: plain values only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from saelex.errors import InputError
from saelex.reading.regular import regular_file

_MOST_BYTES = 1 << 20
_MOST_LEVELS = 64
# what yaml's own constructors let through, of dates, numbers and keys that are none
_WRONG = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


def read_yaml(path: Path, what: str) -> Any:
    """The value of a YAML file; None where it is empty. `what` it is said to be in the InputError for another file."""
    try:
        if regular_file(path).stat().st_size > _MOST_BYTES:
            raise InputError(f"{path}: more than {_MOST_BYTES >> 20} MiB, too much for {what}")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of {what}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not YAML: {error}") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text; `where` begins the InputError for text that is none, or repeats repeated values."""
    try:
        _refuse_nested_aliases(text, where)
        return yaml.safe_load(text)
    except _WRONG as error:
        raise InputError(f"{where}: not YAML: {' '.join(str(error).split())[:300] or type(error).__name__}") from error


def _refuse_nested_aliases(text: str, where: str) -> None:
    """An alias within what has a name itself makes a value its own part, or a few lines into gigabytes."""
    depth, named_at = 0, 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent) and named_at:
            raise InputError(f"{where}: *{event.anchor} stands within a value that has a name (&); write it out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MOST_LEVELS:  # before the rest is read: the time that yaml takes grows with their square
                raise InputError(f"{where}: not YAML that is read here: nested more than {_MOST_LEVELS} levels deep")
            named_at = named_at or (depth if event.anchor else 0)
        elif isinstance(event, yaml.CollectionEndEvent):
            named_at = 0 if named_at == depth else named_at
            depth -= 1
