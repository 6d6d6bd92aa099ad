"""JSON files that hold an object, and its values by their types.

`null` is as good as a name that is not there: it means the default, and is refused where there is none.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

from saelex.errors import InputError
from saelex.reading.regular import one_error, reason_of, regular_file

Default = TypeVar("Default")
Settings = TypeVar("Settings")

LARGEST = 2**53
"""Whole numbers beyond this, either way, are damage: no size, count or id is as large."""
_MOST_BYTES = 1 << 30
_MOST_LEVELS = 64
_LARGEST_NUMBER = 1e31  # a tokenizer without a length limit records 1e30


class JsonObject(dict[str, Any]):
    """A JSON object that knows where it stands, so that a value of the wrong type is an InputError with file and field.

    where: the file. prefix: what dotted names begin with, within the file's own object.
    """

    def __init__(self, values: Mapping[str, Any], where: str | Path, prefix: str = "") -> None:
        super().__init__(values)
        self.where = str(where)
        self.prefix = prefix

    def wrong(self, name: str, wanted: str) -> InputError:
        """The error for the value of a name that is not `wanted`."""
        value = self[name]
        shown = f"{type(value).__name__} of {len(value)}" if isinstance(value, (dict, list)) else _shown(value)
        return InputError(f"{self.where}: {self.prefix}{name} is {shown}, not {wanted}; fetch the file again")

    def required(self, name: str) -> Any:
        """The value. Raises InputError where there is none."""
        if self.get(name) is None:
            raise InputError(f"{self.where}: lacks the setting '{self.prefix}{name}'; fetch the file again")
        return self[name]

    def text(self, name: str) -> str:
        """A string that must be there."""
        if not isinstance(self.required(name), str):
            raise self.wrong(name, "a string")
        return str(self[name])

    def text_or(self, name: str, default: Default) -> str | Default:
        """A string, or the default where there is none."""
        return default if self.get(name) is None else self.text(name)

    def number(self, name: str) -> float:
        """A finite number, none beyond 1e31, that must be there."""
        value = self.required(name)
        if not _is_number(value):
            raise self.wrong(name, "a number")
        return float(value)

    def number_or(self, name: str, default: Default) -> float | Default:
        """A finite number, or the default where there is none."""
        return default if self.get(name) is None else self.number(name)

    def whole(self, name: str, least: int = 0) -> int:
        """A whole number, not below `least`, that must be there; 4.0 is one, as some libraries write it."""
        value = self.required(name)
        if not _is_number(value) or value % 1 != 0 or not least <= value <= LARGEST:
            raise self.wrong(name, f"a whole number from {least} up")
        return int(value)

    def whole_or(self, name: str, default: Default, least: int = 0) -> int | Default:
        """A whole number, or the default where there is none."""
        return default if self.get(name) is None else self.whole(name, least)

    def flag_or(self, name: str, default: bool) -> bool:
        """true or false, or the default where there is neither."""
        value = default if self.get(name) is None else self[name]
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def object(self, name: str) -> JsonObject:
        """An object that must be there."""
        if not isinstance(self.required(name), dict):
            raise self.wrong(name, "an object")
        return JsonObject(self[name], self.where, f"{self.prefix}{name}.")

    def object_or_none(self, name: str) -> JsonObject | None:
        """An object, where there is one."""
        return None if self.get(name) is None else self.object(name)

    def objects(self, name: str) -> list[JsonObject]:
        """A list of objects that must be there."""
        value = self.required(name)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.wrong(name, "a list of objects")
        return [JsonObject(item, self.where, f"{self.prefix}{name}[{i}].") for i, item in enumerate(value)]

    def texts(self, name: str) -> list[str]:
        """A list of strings that must be there."""
        value = self.required(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(name, "a list of strings")
        return value

    def wholes(self, name: str) -> list[int]:
        """A list of whole numbers from 0 up that must be there."""
        value = self.required(name)
        if not isinstance(value, list) or not all(type(item) is int and 0 <= item <= LARGEST for item in value):
            raise self.wrong(name, "a list of whole numbers from 0 up")
        return value


def read_json(path: Path) -> JsonObject:
    """The object in a JSON file. Raises InputError naming the file where there is none."""
    content = read_json_value(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a JSON object; fetch the file again")
    return JsonObject(content, path)


def read_json_objects(path: Path) -> list[JsonObject]:
    """The list of objects in a JSON file. Raises InputError naming the file where there is none."""
    return JsonObject({"content": read_json_value(path)}, path).objects("content")


def read_json_lines(path: Path) -> list[JsonObject]:
    """The objects of a file with one on each line. Raises InputError with file and line."""
    objects = []
    with one_error(path, "a file of JSON lines"):
        lines = regular_file(path).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"{path}:{number}"
            objects.append(JsonObject({"line": parse_json(line, where)}, where).object("line"))
    return objects


def log_until(path: Path, step: int) -> list[str]:
    """Lines of a training log, JSON objects with a `step`, up to a step; one that a kill cut short is left out."""
    kept = []
    for line in regular_file(path).read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            if json.loads(line)["step"] <= step:
                kept.append(line)
    return kept


def read_json_value(path: Path) -> Any:
    """Whatever a JSON file holds. Raises InputError as `parse_json` does, and for what is no regular file of a size."""
    try:
        if regular_file(path).stat().st_size > _MOST_BYTES:
            raise InputError(f"{path}: more than {_MOST_BYTES >> 20} MiB, too much for a JSON file of settings")
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: not readable JSON ({error.strerror or error}); fetch the file again") from error
    return parse_json(raw, path)


def parse_json(text: str | bytes, where: str | Path) -> Any:
    """The value of a JSON text; `where` begins the InputError for text that is none.

    More than JSON's grammar is asked: no name twice in an object, numbers that are finite, no half of a surrogate pair,
    and at most 64 levels, so that whatever copies or writes the value can.
    """
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8-sig")
        value = json.loads(decoded, object_pairs_hook=_without_doubles, parse_float=_finite, parse_constant=_refused)
        if "\\u" in decoded:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        if _levels(value) > _MOST_LEVELS:
            raise ValueError(f"nested more than {_MOST_LEVELS} levels deep")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not readable JSON ({reason_of(error)}); fetch the file again") from error
    return value


def settings_from(kind: type[Settings], values: JsonObject) -> Settings:
    """A dataclass or named tuple of an object's values, each of its field's type.

    Raises InputError for a name that is no field, a value of another type, and a field without default that is missing.
    """
    hints = typing.get_type_hints(kind)
    if unknown := sorted(values.keys() - hints.keys()):
        raise InputError(
            f"{values.where}: unknown setting '{values.prefix}{unknown[0]}'; a newer saelex may have written it"
        )
    for name, value in values.items():
        if not _fits(hints[name], value):
            raise values.wrong(name, f"of the type {_named(hints[name])}")
    for field in dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ():
        if field.default is field.default_factory is dataclasses.MISSING and field.name not in values:
            raise InputError(f"{values.where}: lacks the setting '{values.prefix}{field.name}'; fetch the file again")
    return kind(**values)


def _fits(hint: Any, value: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(argument, value) for argument in arguments)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if hint is float:
        return _is_number(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST
    return isinstance(value, hint)


def _named(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= _LARGEST_NUMBER  # NaN is not


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.60}"
    except ValueError:  # a whole number of thousands of digits
        return "a number of thousands of digits"


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r:.60} is there twice")
    return values


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text:.20} is too large a number")
    return value


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


def _levels(value: Any) -> int:
    levels, layer = 0, [value]
    while layer := [item for item in layer if isinstance(item, (dict, list))]:
        levels += 1
        layer = [inner for item in layer for inner in (item.values() if isinstance(item, dict) else item)]
    return levels
