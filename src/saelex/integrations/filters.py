"""Filters of other stores as the `where` of `Index.search`, where they mean the same there.

What means something else is an InputError that says what. Two things hold for all of them. A test of a field that holds
a list is one of its items, and an empty list is as good as no field: stores differ in that, and so do frameworks from
one store to the next. Numbers are compared by value, 2001 with 2001.0, and are never truth values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from saelex.errors import InputError
from saelex.index.filters import ALL, ANY, NONE, Where

_SAME = {"==": "=", "!=": "!=", ">": ">", ">=": ">=", "<": "<", "<=": "<=", "in": "in"}
_ORDERS = (">", ">=", "<", "<=")
_DATE = re.compile(r"\d{4}-\d\d-\d\d([Tt ]|$)")


# ---- ChromaDB -------------------------------------------------------------------------------------------------------

_CHROMA = {
    "$eq": "=", "$ne": "!=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<=",
    "$in": "in", "$nin": "not in", "$contains": "=",
}  # fmt: skip


def from_chroma(where: Mapping[str, Any] | None) -> Where:
    """ChromaDB's `where`: `{"$and": [{"lang": "en"}, {"year": {"$gte": 2001}}]}`; several fields all hold.

    As in ChromaDB from 0.5.12 on, "$ne" and "$nin" are true of a document without the field. "$contains" is of lists.
    Raises InputError for filters on texts and ids, and for "$not_contains".
    """
    parts = [_chroma(key, wanted) for key, wanted in _mapping("chroma", where).items()]
    return _all(parts)


def _chroma(key: str, wanted: Any) -> Where:
    if key in ("$and", "$or"):
        parts = _list("chroma", key, wanted)
        if not parts:
            raise InputError(f"chroma filter: {key} of nothing")
        return {ALL if key == "$and" else ANY: [from_chroma(part) for part in parts]}
    if key in ("#document", "#id"):
        raise InputError(f"chroma filter: {key} is of texts or ids; saelex filters by metadata alone")
    if not isinstance(wanted, Mapping):
        return {key: _scalar("chroma", key, wanted)}
    tests: dict[str, Any] = {}
    for name, value in wanted.items():
        if name == "$not_contains":
            raise InputError(f"chroma filter: {key} $not_contains does not say what holds without the field; use $ne")
        if name not in _CHROMA:
            raise InputError(f"chroma filter: {key}: unknown operator {name!r}; known are {', '.join(_CHROMA)}")
        if name in ("$in", "$nin"):
            value = [_scalar("chroma", key, one) for one in _list("chroma", f"{key} {name}", value)]
        elif _CHROMA[name] in _ORDERS:
            _number("chroma", key, value)
        else:
            _scalar("chroma", key, value)
        if _CHROMA[name] in tests:
            raise InputError(f"chroma filter: {key} has both $eq and $contains; put them under $and")
        tests[_CHROMA[name]] = value
    return {key: tests}


# ---- Qdrant ---------------------------------------------------------------------------------------------------------

_RANGE = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def from_qdrant(filter: Any) -> Where:
    """Qdrant's filter, as a dictionary or `qdrant_client.models.Filter`.

    must, should, must_not (one condition or a list), of match (value, any), range, is_empty, is_null, and filters.
    Raises InputError for other conditions: on ids, vectors, places, times, counts, nested objects, words of a text, and
    "except", which is true of a list where one item is another.
    """
    clauses = _mapping("qdrant", filter)
    parts: list[Where] = []
    for clause, wanted in clauses.items():
        if clause not in ("must", "should", "must_not"):
            raise InputError(f"qdrant filter: {clause} has no counterpart; known are must, should and must_not")
        conditions = wanted if isinstance(wanted, (list, tuple)) else [wanted]
        if conditions:  # of none, not even "should" asks for anything
            group = {"must": ALL, "should": ANY, "must_not": NONE}[clause]
            parts.append({group: [_qdrant(condition) for condition in conditions]})
    return _all(parts)


def _qdrant(condition: Any) -> Where:
    asked = _mapping("qdrant", condition)
    if not asked or asked.keys() & {"must", "should", "must_not", "min_should"}:
        return from_qdrant(asked)
    for name in ("is_empty", "is_null"):
        if isinstance(asked.get(name), Mapping) and len(asked) == 1:
            return _qdrant({**asked[name], name: True})
    if "key" not in asked or len(asked) != 2:
        raise InputError(f"qdrant filter: one test of one key at a time, not {sorted(asked)}; put several under must")
    key = asked["key"]
    if not isinstance(key, str) or "[" in key:
        raise InputError(f"qdrant filter: the key {key!r} goes into lists; saelex's fields go into objects alone")
    [(name, wanted)] = [(name, wanted) for name, wanted in asked.items() if name != "key"]
    if name == "is_empty":
        return {key: {"exists": not wanted}}
    if name == "is_null":
        return {ALL if wanted else NONE: [{key: None}]}
    if name == "match":
        return _qdrant_match(key, _mapping("qdrant", wanted))
    if name == "range":
        return _qdrant_range(key, _mapping("qdrant", wanted))
    raise InputError(f"qdrant filter: {key}: {name} has no counterpart; known are match, range, is_empty and is_null")


def _qdrant_match(key: str, match: Mapping[str, Any]) -> Where:
    if list(match) == ["value"]:
        return {key: _scalar("qdrant", key, match["value"])}
    if list(match) == ["any"]:
        return {key: [_scalar("qdrant", key, one) for one in _list("qdrant", f"{key} any", match["any"])]}
    if list(match) == ["except"]:
        raise InputError(
            f"qdrant filter: {key}: except is true of a list where one item is another; use any under must_not"
        )
    raise InputError(f"qdrant filter: {key}: match by {', '.join(match)} has no counterpart; known are value and any")


def _qdrant_range(key: str, bounds: Mapping[str, Any]) -> Where:
    unknown = sorted(bounds.keys() - _RANGE.keys())
    if unknown or not bounds:
        raise InputError(f"qdrant filter: {key}: a range has some of gt, gte, lt and lte, not {unknown or 'none'}")
    return {key: {_RANGE[name]: _number("qdrant", key, bound) for name, bound in bounds.items()}}


# ---- LlamaIndex -----------------------------------------------------------------------------------------------------


def from_llama_index(filters: Any) -> Where:
    """LlamaIndex's `MetadataFilters`, one in the other, under and, or, and not (none of them).

    As in its own store, != and nin are true of a document without the field; contains, any and all are of lists. Raises
    InputError for searches of text, and for tests of null.
    """
    if filters is None:
        return {}
    if not hasattr(filters, "filters"):
        raise InputError(f"llama-index filter: not MetadataFilters but {type(filters).__name__}")
    parts = [from_llama_index(one) if hasattr(one, "filters") else _llama_index(one) for one in filters.filters]
    if not parts:
        return {}
    group = {"and": ALL, "or": ANY, "not": NONE}[str(getattr(filters.condition, "value", None) or "and")]
    return {group: parts}


def _llama_index(one: Any) -> Where:
    key, value, operator = one.key, one.value, str(one.operator.value)
    if operator == "is_empty":
        return {ANY: [{key: {"exists": False}}, {key: ""}]}
    if value is None:
        raise InputError(f"llama-index filter: {key} {operator} of null is true of nothing, or of all; use is_empty")
    if operator == "contains":
        return {key: _scalar("llama-index", key, value)}
    if operator in ("in", "nin", "any", "all"):
        values = _list("llama-index", f"{key} {operator}", value)
        if operator == "all":
            return {ALL: [{key: item} for item in values]}
        return {key: {"not in" if operator == "nin" else "in": values}}
    if operator not in _SAME:
        raise InputError(f"llama-index filter: {key}: {operator} searches in the text of a field; saelex compares it")
    return {key: {_SAME[operator]: _scalar("llama-index", key, value)}}


# ---- Haystack -------------------------------------------------------------------------------------------------------

_HAYSTACK_GROUPS = ("AND", "OR", "NOT")
_HAYSTACK_TESTS = "==, !=, >, >=, <, <=, in and not in"


def from_haystack(filters: Mapping[str, Any] | None) -> Where:
    """Haystack's filters: comparisons of "meta.FIELD" with ==, !=, >, >=, <, <=, in, not in, under AND, OR and NOT.

    NOT is true where its conditions do not all hold. != and "not in" are true of a document without the field, == null
    of that alone and of null. Raises InputError for fields that are not of meta, and for dates: Haystack compares the
    instants, saelex the letters.
    """
    asked = _mapping("haystack", filters)
    if not asked:
        return {}
    operator = asked.get("operator")
    if "field" in asked:
        if not {"operator", "value"} <= asked.keys():
            raise InputError(f"haystack filter: a comparison has field, operator and value, not {sorted(asked)}")
        return _haystack(_haystack_field(asked["field"]), str(operator), asked["value"])
    if operator not in _HAYSTACK_GROUPS or "conditions" not in asked:
        raise InputError(f"haystack filter: neither a field nor conditions under AND, OR or NOT: {sorted(asked)}")
    parts = [from_haystack(one) for one in _list("haystack", str(operator), asked["conditions"])]
    if operator == "NOT":
        return {NONE: [{ALL: parts}]}
    return {ALL if operator == "AND" else ANY: parts}


def _haystack_field(field: Any) -> str:
    name = str(field)
    if name.startswith("meta."):
        return name.removeprefix("meta.")
    if name in ("id", "content", "blob", "meta", "score", "embedding", "sparse_embedding"):
        raise InputError(f"haystack filter: {name} is no field of meta; saelex filters by metadata alone")
    return name


def _haystack(field: str, operator: str, value: Any) -> Where:
    if operator in _ORDERS:
        return {field: {operator: _number("haystack", field, value)}}
    if operator not in ("==", "!=", "in", "not in"):
        raise InputError(f"haystack filter: {field}: unknown operator {operator!r}; known are {_HAYSTACK_TESTS}")
    values = _list("haystack", f"{field} {operator}", value) if operator.endswith("in") else [value]
    given = [_scalar("haystack", field, one) for one in values if one is not None]
    for one in given:
        if isinstance(one, str) and _DATE.match(one):
            raise InputError(
                f"haystack filter: {field}: {one!r} is compared by instant there, text by letter in saelex"
            )
    parts: list[Where] = [{field: given}]
    if len(given) < len(values):
        parts.append({field: {"exists": False}})  # null, or no such field
    return {NONE if operator in ("!=", "not in") else ANY: parts}


# ---- what they share ------------------------------------------------------------------------------------------------


def _all(parts: Sequence[Where]) -> Where:
    return parts[0] if len(parts) == 1 else {ALL: list(parts)} if parts else {}


def _mapping(whose: str, value: Any) -> Mapping[str, Any]:
    """A filter as a mapping; models of pydantic are asked for theirs."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(exclude_none=True, by_alias=True)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InputError(f"{whose} filter: {value!r} is no dictionary")
    return value


def _list(whose: str, what: str, value: Any) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{whose} filter: {what} needs a list, not {value!r}")
    return list(value)


def _scalar(whose: str, field: str, value: Any) -> Any:
    """The value. Raises InputError for a list or an object, which would be compared as a whole, and for null."""
    if not isinstance(value, (str, int, float)):
        raise InputError(f"{whose} filter: {field}: {value!r} is neither text, number nor truth value")
    return value


def _number(whose: str, field: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{whose} filter: {field}: bounds are numbers here, not {value!r}; dates are no texts there")
    return value
