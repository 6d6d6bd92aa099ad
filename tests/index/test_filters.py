"""Metadata filters against the same conditions in Python."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saelex.errors import InputError
from saelex.index.filters import DEEPEST, MOST_TESTS, MOST_VALUES, condition, every_test

METADATA: list[dict[str, Any] | None] = [
    {"lang": "en", "year": 2001, "tags": ["a", "b"]},
    {"lang": "de", "year": 1999.5, "tags": [], "source": {"site": "x.org"}},
    {"lang": None, "year": "2001", "open": True},
    {"lang": "en", "open": False, "größe m": 1, "source": {"site": "y.org"}},
    None,
]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"lang": "en"}, [0, 3]),
        ({"lang": ["en", "de"]}, [0, 1, 3]),
        ({"lang": {"in": ["de", None]}}, [1, 2]),
        ({"lang": []}, []),
        ({"lang": {"!=": "en"}}, [1, 2, 4]),
        ({"lang": None}, [2]),
        ({"year": 2001}, [0]),
        ({"year": "2001"}, [2]),
        ({"year": {">=": 1999}}, [0, 1]),
        ({"year": {">": 1999.5, "<": 2002}}, [0]),
        ({"year": {"<=": "3"}}, [2]),
        ({"open": True}, [2]),
        ({"open": {"==": False}}, [3]),
        ({"tags": "b"}, [0]),
        ({"source.site": "x.org"}, [1]),
        ({"source": "x.org"}, []),
        ({"größe m": 1}, [3]),
        ({"lang": "en", "open": False}, [3]),
        ({"nothing": 1}, []),
        ({"lang') OR 1 --": "en"}, []),
        # groups
        ({"any of": [{"lang": "de"}, {"year": {">": 2000}}]}, [0, 1]),
        ({"lang": "en", "any of": [{"open": False}, {"open": True}]}, [3]),
        ({"all of": [{"tags": "a"}, {"tags": "b"}]}, [0]),
        ({"none of": [{"lang": "en"}, {"open": True}]}, [1, 4]),
        ({"none of": [{"year": {">": 0}}]}, [2, 3, 4]),
        ({"none of": [{"any of": [{"lang": "en"}, {"none of": [{"year": 1999.5}]}]}]}, [1]),
        ({"any of": [{}, {"lang": "en"}]}, [0, 1, 2, 3, 4]),
        ({"all of": []}, [0, 1, 2, 3, 4]),
        ({"any of": []}, []),
        ({"none of": []}, [0, 1, 2, 3, 4]),
        # missing fields, null and empty lists
        ({"lang": {"not in": ["en", "de"]}}, [2, 4]),
        ({"tags": {"not in": ["a"]}}, [1, 2, 3, 4]),
        ({"lang": {"not in": []}}, [0, 1, 2, 3, 4]),
        ({"lang": {"exists": True}}, [0, 1, 3]),
        ({"lang": {"exists": False}}, [2, 4]),
        ({"tags": {"exists": True}}, [0]),
        ({"source": {"exists": True}}, [1, 3]),
        ({"lang": {"!=": "en", "exists": True}}, [1]),
    ],
)
def test_conditions(where: dict[str, Any], expected: list[int]) -> None:
    assert found_by_sql(METADATA, where) == expected


def found_by_sql(metadata: Sequence[Mapping[str, Any] | None], where: Mapping[str, Any]) -> list[int]:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE documents (number INTEGER PRIMARY KEY, metadata TEXT)")
    rows = [
        (i, None if values is None else json.dumps(values, ensure_ascii=False)) for i, values in enumerate(metadata)
    ]
    connection.executemany("INSERT INTO documents VALUES (?, ?)", rows)
    sql, parameters = condition(where)
    found = connection.execute(f"SELECT number FROM documents WHERE {sql} ORDER BY number", parameters)
    return [number for (number,) in found]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("lang=en", "not a mapping"),
        ({'a"b': 1}, "without quotation marks"),
        ({"year": {"~": 3}}, "unknown comparison '~'"),
        ({"year": {">": None}}, "needs a number or a string"),
        ({"year": {"in": 3}}, "needs a list"),
        ({"year": 2**63}, "larger than any number"),
        ({"year": {"<": -(2**64)}}, "larger than any number"),
        ({"year": {"=": {"a": 1}}}, "neither text"),
        ({"any of": {"lang": "en"}}, '"any of" takes a list of filters'),
        ({"none of": "lang"}, '"none of" takes a list of filters'),
        ({"all of": ["lang"]}, "'lang' is not a mapping"),
        ({"year": {"not in": 3}}, "in needs a list"),
        ({"year": {"exists": 1}}, "exists needs true or false"),
        ({"any of": [{"year": value} for value in range(MOST_TESTS + 1)]}, "more than 500 tests"),
        ({"year": list(range(MOST_VALUES + 1))}, "more than 30,000 values"),
    ],
)
def test_nonsense_is_refused(where: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        condition(where)


def test_a_list_passes_bounds_with_one_of_its_items() -> None:
    metadata = [{"years": [1990, 2010]}, {"years": [2000]}, {"years": 2001}, {"years": ["2000"]}, {"years": []}]
    assert found_by_sql(metadata, {"years": {">": 2005}}) == [0]
    assert found_by_sql(metadata, {"years": {">": 1995, "<": 2005}}) == [1, 2]  # not one item above and one below
    assert found_by_sql(metadata, {"all of": [{"years": {">": 1995}}, {"years": {"<": 2005}}]}) == [0, 1, 2]


def test_many_values_and_tests_are_no_harm() -> None:
    metadata = [{"year": value} for value in (0, 2500, 29_000, 31_000)]
    assert found_by_sql(metadata, {"year": list(range(MOST_VALUES - 1))}) == [0, 1, 2]
    assert found_by_sql(metadata, {"any of": [{"year": 2001 + value} for value in range(MOST_TESTS)]}) == [1]


def test_groups_within_groups() -> None:
    where: dict[str, Any] = {"year": 1}
    for level in range(DEEPEST):
        assert found_by_sql([{"year": 1, "open": True}], where) == ([] if level % 2 else [0])
        where = {"open": True, "year": {">": 0}, "none of": [{"year": 2}, where]}
    assert found_by_sql([{"year": 1, "open": True}], where) == [0]  # the deepest that is taken
    with pytest.raises(InputError, match="more than 8 deep"):
        condition({"any of": [where]})


def test_every_test_is_told() -> None:
    where = {"lang": "en", "any of": [{"year": {">": 1, "==": 3}}, {"none of": [{"tags": ["a"]}]}]}
    assert list(every_test(where)) == [("lang", "=", "en"), ("year", ">", 1), ("year", "=", 3), ("tags", "in", ["a"])]


# ---- drawn filters against what they are said to mean ---------------------------------------------------------------

_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(0, 3), st.sampled_from([0.5, 2.0]), st.sampled_from("ab"))
_VALUES = st.one_of(_SCALARS, st.lists(_SCALARS, max_size=3), st.just({"inner": 1}))
_DOCUMENTS = st.lists(st.dictionaries(st.sampled_from("xy"), _VALUES, max_size=2), min_size=1, max_size=4)
_ORDERED = st.one_of(st.integers(0, 3), st.just(0.5), st.sampled_from("ab"))
_COMPARISONS = st.one_of(
    st.dictionaries(st.sampled_from(["<", "<=", ">", ">="]), _ORDERED, min_size=1, max_size=2),
    st.dictionaries(st.sampled_from(["=", "==", "!="]), _SCALARS, min_size=1, max_size=2),
    st.dictionaries(st.sampled_from(["in", "not in"]), st.lists(_SCALARS, max_size=3), min_size=1),
    st.dictionaries(st.just("exists"), st.booleans(), min_size=1),
)
_FIELDS = st.dictionaries(st.sampled_from("xyz"), st.one_of(_SCALARS, st.lists(_SCALARS), _COMPARISONS), max_size=2)
_FILTERS = st.recursive(
    _FIELDS,
    lambda inner: st.builds(
        lambda fields, groups: {**fields, **groups},
        _FIELDS,
        st.dictionaries(st.sampled_from(["all of", "any of", "none of"]), st.lists(inner, max_size=2), max_size=2),
    ),
    max_leaves=4,
)


@given(_DOCUMENTS, _FILTERS)
def test_any_filter_means_what_it_says(documents: list[dict[str, Any]], where: dict[str, Any]) -> None:
    assert found_by_sql(documents, where) == [i for i, metadata in enumerate(documents) if holds(metadata, where)]


MISSING = object()


def holds(metadata: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    """The meaning of a filter, in Python."""
    groups: dict[str, Callable[[list[bool]], bool]] = {"all of": all, "any of": any, "none of": lambda x: not any(x)}
    return all(
        groups[name]([holds(metadata, part) for part in wanted])
        if name in groups
        else field_holds(metadata.get(name, MISSING), wanted)
        for name, wanted in where.items()
    )


def field_holds(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, list):
        wanted = {"in": wanted}
    elif not isinstance(wanted, Mapping):
        wanted = {"=": wanted}
    items = value if isinstance(value, list) else [MISSING if isinstance(value, dict) else value]
    bounds = {operator: bound for operator, bound in wanted.items() if operator[0] in "<>"}
    others = {
        "=": lambda asked: any(map(same, items, [asked] * len(items))),
        "==": lambda asked: any(map(same, items, [asked] * len(items))),
        "!=": lambda asked: not any(map(same, items, [asked] * len(items))),
        "in": lambda asked: any(same(item, one) for item in items for one in asked),
        "not in": lambda asked: not any(same(item, one) for item in items for one in asked),
        "exists": lambda asked: asked == (value not in (None, [], MISSING)),
    }
    return all(others[operator](asked) for operator, asked in wanted.items() if operator not in bounds) and (
        not bounds or any(all(in_order(item, *bound) for bound in bounds.items()) for item in items)
    )


def same(value: Any, asked: Any) -> bool:
    if isinstance(value, bool) or isinstance(asked, bool) or value is None or asked is None:
        return value is asked
    return bool(value == asked)


def in_order(value: Any, operator: str, bound: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, str if isinstance(bound, str) else (int, float)):
        return False
    return {"<": value < bound, "<=": value <= bound, ">": value > bound, ">=": value >= bound}[operator]
