"""Metadata filters: `where={"lang": "en", "year": {">=": 2001}}` as an SQL condition on the documents' metadata."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from saelex.errors import InputError

Where = Mapping[str, Any]
"""Field -> value (equal), list of values (any of them), or {comparison: value}; all fields must hold.

Beside fields, groups: "all of", "any of" and "none of", each with a list of such filters.
`{"lang": "en", "any of": [{"year": {">=": 2001}}, {"tags": "new"}]}`.

A field with dots goes into nested objects. For a field that holds a list, a test means that one of its items passes
it, and several of <, <=, >, >= together that one item passes all of these. "!=" and "not in" are true where "=" and
"in" are not. So a document without the field passes these two, {"exists": False}, and none of the others. "exists" asks
whether the field holds anything: null and an empty list are nothing.
"""

ALL, ANY, NONE = GROUPS = ("all of", "any of", "none of")
MOST_TESTS = 500
MOST_VALUES = 30_000  # names of fields among them
DEEPEST = 8  # groups within groups
"""SQLite itself refuses what goes far beyond these three."""

_ORDERS = ("<", "<=", ">", ">=")
_KNOWN = "<, <=, >, >=, =, !=, in, not in and exists"
_Sql = tuple[str, list[Any]]


def condition(where: Where) -> _Sql:
    """SQL, true or false for every document, and its parameters. Raises InputError for what cannot be understood."""
    sql, parameters = _read(where, 0)
    if sum(1 for _ in every_test(where)) > MOST_TESTS:
        raise InputError(f"where: more than {MOST_TESTS} tests; give the values of one field in one list")
    if len(parameters) > MOST_VALUES:
        raise InputError(f"where: more than {MOST_VALUES:,} values; put what they have in common into the metadata")
    return sql, parameters


def every_test(where: Where) -> Iterator[tuple[str, str, Any]]:
    """Every field, comparison and value of a filter that `condition` has understood, those in groups too."""
    for field, wanted in where.items():
        if field in GROUPS:
            for part in wanted:
                yield from every_test(part)
        else:
            yield from ((field, operator, value) for operator, value in _comparisons(wanted))


def _comparisons(wanted: Any) -> list[tuple[str, Any]]:
    if isinstance(wanted, Mapping):
        return [("=" if operator == "==" else operator, value) for operator, value in wanted.items()]
    return [("in" if _is_list(wanted) else "=", wanted)]


def _read(where: Any, depth: int) -> _Sql:
    if not isinstance(where, Mapping):
        raise InputError(f'where: {where!r} is not a mapping of fields to values, such as {{"lang": "en"}}')
    if depth > DEEPEST:
        raise InputError(f"where: groups within groups, more than {DEEPEST} deep")
    return _joined(
        "AND",
        [_group(name, wanted, depth) if name in GROUPS else _field(name, wanted) for name, wanted in where.items()],
    )


def _group(name: str, parts: Any, depth: int) -> _Sql:
    if not isinstance(parts, (list, tuple)):
        raise InputError(f'where: "{name}" takes a list of filters, such as [{{"lang": "en"}}], not {parts!r}')
    sql, parameters = _joined("AND" if name == ALL else "OR", [_read(part, depth + 1) for part in parts])
    return f"NOT {sql}" if name == NONE else sql, parameters


def _joined(word: str, parts: Sequence[_Sql]) -> _Sql:
    if len(parts) == 1:
        return parts[0]
    sql = f"({f' {word} '.join(sql for sql, _ in parts)})" if parts else ("1" if word == "AND" else "0")
    return sql, [value for _, values in parts for value in values]


def _field(field: Any, wanted: Any) -> _Sql:
    if not isinstance(field, str) or '"' in field:
        raise InputError(f"where: a field is a name without quotation marks, not {field!r}")
    comparisons = _comparisons(wanted)
    if not comparisons:
        raise InputError(f"where: {field}: no comparison; known are {_KNOWN}")
    path = json_path(field)
    ordered = [(operator, value) for operator, value in comparisons if operator in _ORDERS]
    parts = [_some(path, _joined("AND", [_order(field, *test) for test in ordered]))] if ordered else []
    for operator, value in comparisons:
        read = _READERS.get(operator) if isinstance(operator, str) else None
        if read is not None:
            parts.append(read(field, path, value))
        elif operator not in _ORDERS:
            raise InputError(f"where: {field}: unknown comparison {operator!r}; known are {_KNOWN}")
    return _joined("AND", parts)


def _some(path: str, item: _Sql) -> _Sql:
    """Whether a field's value, or one of its items where that is a list, passes a test on `type` and `value`."""
    # json_each of a scalar gives that one value, of a list its items (and of an object its members, under text keys)
    sql, values = item
    return f"EXISTS (SELECT 1 FROM json_each(metadata, ?) WHERE typeof(key) != 'text' AND {sql})", [path, *values]


def _order(field: str, operator: str, value: Any) -> _Sql:
    _check_size(field, value)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise InputError(f"where: {field} {operator} needs a number or a string, not {value!r}")
    # numbers with numbers and strings with strings: SQLite would put every number before every string
    return f"({_of_kind(value)} AND value {operator} ?)", [value]


def _equal(field: str, path: str, value: Any) -> _Sql:
    return _one_of(field, path, [value])


def _in(field: str, path: str, values: Any) -> _Sql:
    if not _is_list(values):
        raise InputError(f"where: {field} in needs a list, not {values!r}")
    return _one_of(field, path, list(values))


def _one_of(field: str, path: str, values: Sequence[Any]) -> _Sql:
    """One expression for all texts and one for all numbers, however many: SQLite bounds how deep they nest."""
    by_kind: dict[str, list[Any]] = {}
    for value in values:
        _check_size(field, value)
        if value is not None and not isinstance(value, (str, int, float)):
            raise InputError(f"where: {field}: {value!r} is neither text, number, true, false nor null")
        by_kind.setdefault(_of_kind(value), []).append(value)
    parts: list[_Sql] = []
    for kind, alike in by_kind.items():
        if alike[0] is None or isinstance(alike[0], bool):
            parts.append((kind, []))
        else:
            parts.append((f"({kind} AND value IN ({', '.join('?' * len(alike))}))", alike))
    return _some(path, _joined("OR", parts))


def _exists(field: str, path: str, wanted: Any) -> _Sql:
    if not isinstance(wanted, bool):
        raise InputError(f"where: {field} exists needs true or false, not {wanted!r}")
    kind = "CASE coalesce(json_type(metadata, ?), 'null')"
    sql = f"{kind} WHEN 'null' THEN 0 WHEN 'array' THEN json_array_length(metadata, ?) > 0 ELSE 1 END"
    return f"({sql}) = {int(wanted)}", [path, path]


def _not(read: Callable[[str, str, Any], _Sql]) -> Callable[[str, str, Any], _Sql]:
    def opposite(field: str, path: str, value: Any) -> _Sql:
        sql, parameters = read(field, path, value)
        return f"NOT {sql}", parameters

    return opposite


_READERS = {"=": _equal, "!=": _not(_equal), "in": _in, "not in": _not(_in), "exists": _exists}


def _of_kind(value: Any) -> str:
    if value is None:
        return "type = 'null'"
    if isinstance(value, bool):
        return f"type = '{'true' if value else 'false'}'"
    return "type = 'text'" if isinstance(value, str) else "type IN ('integer', 'real')"


def json_path(field: str) -> str:
    """Where SQLite finds a field in `metadata`: "source.site" is inside an object."""
    return "$" + "".join(f'."{part}"' for part in field.split("."))


def _check_size(field: str, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"where: {field}: {value} is no number that metadata can hold")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InputError(f"where: {field}: {value} is larger than any number that can be compared")


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple, set, frozenset))
