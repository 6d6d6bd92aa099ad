"""Metadata filters: `where={"lang": "en", "year": {">=": 2001}}` as an SQL condition on the documents' metadata."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from saelex.errors import InputError

Where = Mapping[str, Any]
"""Field -> value (equal), list of values (any of them), or {comparison: value}; all fields must hold.

A field with dots goes into nested objects. A document without the field matches nothing but `{"!=": value}`. For a
field that holds a list, equality and "any of" mean that one of its items does.
"""

_COMPARISONS = {"<": "<", "<=": "<=", ">": ">", ">=": ">="}
_KNOWN = "<, <=, >, >=, =, != and in"


def condition(where: Where) -> tuple[str, list[Any]]:
    """SQL and parameters. Raises InputError for a filter that cannot be understood."""
    if not isinstance(where, Mapping):
        raise InputError(f'where: {where!r} is not a mapping of fields to values, such as {{"lang": "en"}}')
    parts: list[str] = []
    parameters: list[Any] = []
    for field, wanted in where.items():
        if isinstance(wanted, Mapping) and not wanted:
            raise InputError(f"where: {field}: no comparison; known are {_KNOWN}")
        tests = wanted.items() if isinstance(wanted, Mapping) else [("in" if _is_list(wanted) else "=", wanted)]
        for operator, value in tests:
            sql, values = _test(field, operator, value)
            parts.append(sql)
            parameters += values
    return " AND ".join(parts) or "1", parameters


def _test(field: str, operator: str, value: Any) -> tuple[str, list[Any]]:
    if not isinstance(field, str) or '"' in field:
        raise InputError(f"where: a field is a name without quotation marks, not {field!r}")
    if not isinstance(operator, str):
        raise InputError(f"where: {field}: unknown comparison {operator!r}; known are {_KNOWN}")
    path = json_path(field)
    if operator in _COMPARISONS:
        _check_size(field, value)
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise InputError(f"where: {field} {operator} needs a number or a string, not {value!r}")
        # numbers with numbers and strings with strings: SQLite would put every number before every string
        kinds = "'text'" if isinstance(value, str) else "'integer', 'real'"
        test = f"json_type(metadata, ?) IN ({kinds}) AND json_extract(metadata, ?) {_COMPARISONS[operator]} ?"
        return f"({test})", [path, path, value]
    if operator not in ("=", "==", "in", "!="):
        raise InputError(f"where: {field}: unknown comparison {operator!r}; known are {_KNOWN}")
    if operator == "in" and not _is_list(value):
        raise InputError(f"where: {field} in needs a list, not {value!r}")
    values = list(value) if operator == "in" else [value]
    for item in values:
        _check_size(field, item)
        if item is not None and not isinstance(item, (str, int, float)):
            raise InputError(f"where: {field}: {item!r} is neither text, number, true, false nor null")
    # json_each of a scalar gives that one value, of a list its items (and of an object its members, under text keys)
    equal = " OR ".join(map(_equals, values)) or "0"
    some = f"EXISTS (SELECT 1 FROM json_each(metadata, ?) WHERE typeof(key) != 'text' AND ({equal}))"
    sql = f"NOT {some}" if operator == "!=" else some
    return sql, [path, *(item for item in values if item is not None and not isinstance(item, bool))]


def json_path(field: str) -> str:
    """Where SQLite finds a field in `metadata`: "source.site" is inside an object."""
    return "$" + "".join(f'."{part}"' for part in field.split("."))


def _check_size(field: str, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"where: {field}: {value} is no number that metadata can hold")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InputError(f"where: {field}: {value} is larger than any number that can be compared")


def _equals(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return f"type = '{json.dumps(value)}'"
    kinds = "'text'" if isinstance(value, str) else "'integer', 'real'"
    return f"(type IN ({kinds}) AND value = ?)"


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple, set, frozenset))
