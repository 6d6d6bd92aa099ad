"""Metadata filters against the same conditions in Python."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest

from saelex.errors import InputError
from saelex.index.filters import condition

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
    ],
)
def test_conditions(where: dict[str, Any], expected: list[int]) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE documents (number INTEGER PRIMARY KEY, metadata TEXT)")
    rows = [
        (i, None if values is None else json.dumps(values, ensure_ascii=False)) for i, values in enumerate(METADATA)
    ]
    connection.executemany("INSERT INTO documents VALUES (?, ?)", rows)
    sql, parameters = condition(where)
    found = connection.execute(f"SELECT number FROM documents WHERE {sql} ORDER BY number", parameters)
    assert [number for (number,) in found] == expected


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
    ],
)
def test_nonsense_is_refused(where: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        condition(where)
