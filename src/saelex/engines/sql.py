"""What engines that speak SQL share: one table, one row an entry, and tests as conditions."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from saelex.engines.entry import FIELDS, Entry, Found
from saelex.engines.facets import ENTRY, Test
from saelex.engines.files.format import Vector
from saelex.engines.sql_connection import SqlConnection
from saelex.errors import InputError

COLUMNS = ("id", *FIELDS, "facets", "vector")
TYPES = {"place": "bigint", "start": "bigint", "end": "bigint", "metadata": "json", "facets": "json"}
"""Of columns that are no text, but for the vector."""


class SqlStore(SqlConnection):
    """A table. Column names are quoted: some are words of SQL."""

    quote: ClassVar[str]
    name: ClassVar[str]
    """Of the engine, for messages."""
    dimensions: ClassVar[str] = ""
    """What stands behind a vector's braces."""

    def _put(self, entries: Sequence[Entry]) -> None:
        names = ", ".join(map(self._quoted, COLUMNS))
        marks = ", ".join(["%s"] * len(COLUMNS))
        rows = [self._row(entry) for entry in entries]
        with self._cursor() as cursor:  # one transaction
            cursor.executemany(f"INSERT INTO {self._table} ({names}) VALUES ({marks}) {self._replacing}", rows)

    def _row(self, entry: Entry) -> list[Any]:
        row = [entry.id, *entry.fields().values(), entry.facets._asdict()]
        if any(map(_holds_nul, row)):
            raise InputError(f"document {entry.document!r} holds a NUL character; {self.name} takes none")
        texts = [json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value for value in row]
        return [*texts, self._literal(entry.vector)]

    def _literal(self, vector: Vector) -> str:
        """`{1:0.5,...}`; both engines count from 1."""
        numbers = zip((vector.columns + 1).tolist(), vector.numbers())
        return "{" + ",".join(f"{column}:{weight!r}" for column, weight in numbers) + "}" + self.dimensions

    def _get(self, ids: Sequence[str], fields: Sequence[str], vectors: bool) -> Iterable[Entry]:
        asked = [*fields, *(["vector"] if vectors else [])]
        marks = ", ".join(["%s"] * len(ids))
        return self._entries(asked, f"WHERE {self._quoted('id')} IN ({marks})", list(ids))

    def _page(self, after: Any, fields: Sequence[str]) -> tuple[list[Entry], Any]:
        name = self._quoted("id")
        page = self._entries(fields, f"WHERE {name} > %s ORDER BY {name} LIMIT {self.batch}", [after or ""])
        return page, page[-1].id if len(page) == self.batch else None

    def _remove(self, ids: Sequence[str]) -> None:
        marks = ", ".join(["%s"] * len(ids))
        with self._cursor() as cursor:
            cursor.execute(f"DELETE FROM {self._table} WHERE {self._quoted('id')} IN ({marks})", list(ids))

    def _count(self) -> int:
        with self._cursor() as cursor:
            sql, values = self._condition([Test("", "any", [ENTRY])])
            cursor.execute(f"SELECT count(*) FROM {self._table}{sql}", values)
            return int(cursor.fetchone()[0])

    def _nearest(self, query: Vector, k: int, tests: Sequence[Test], fields: Sequence[str]) -> Iterable[Found]:
        names = ", ".join(self._quoted(name) for name in ("id", *fields))
        sql, values = self._condition(tests)
        with self._cursor() as cursor:
            self._prepare(cursor)
            distance, limit = self._distance, f"{self._limit} {k}"
            asked = self._literal(query)
            cursor.execute(
                f"SELECT {names}, {distance} FROM {self._table}{sql} ORDER BY {distance} {limit}",
                [asked, *values, asked],
            )
            return [Found(self._entry(fields, row[:-1]), -row[-1]) for row in cursor.fetchall() if row[-1] is not None]

    def _condition(self, tests: Sequence[Test]) -> tuple[str, list[Any]]:
        parts: list[str] = []
        values: list[Any] = []
        for test in tests:
            if test.operator in ("any", "none"):
                parts.append(("NOT " if test.operator == "none" else "") + self._overlaps)
                values.append(self._tags(test.value))
            else:
                sql, place = self._compared(test)
                parts.append(f"{sql} {test.operator} %s")
                values += [place, test.value]
        return (f" WHERE {' AND '.join(parts)}" if parts else ""), values

    def _entries(self, fields: Sequence[str], where: str, values: list[Any]) -> list[Entry]:
        names = ", ".join(map(self._quoted, ("id", *fields)))
        with self._cursor() as cursor:
            cursor.execute(f"SELECT {names} FROM {self._table} {where}", values)
            return [self._entry(fields, row) for row in cursor.fetchall()]

    def _entry(self, fields: Sequence[str], row: Sequence[Any]) -> Entry:
        held = dict(zip(fields, row[1:]))
        if isinstance(held.get("metadata"), str):
            held["metadata"] = json.loads(held["metadata"])
        vector = _parsed(held.pop("vector", "{}"))
        return Entry.of(row[0], held, vector)

    def _quoted(self, name: str) -> str:
        return f"{self.quote}{name}{self.quote}"

    @property
    def _table(self) -> str:
        return self._quoted(self.url.name)

    # ---- what differs -----------------------------------------------------------------------------------------------

    _replacing: ClassVar[str]
    _distance: ClassVar[str]
    """The negative dot product with one vector, a parameter."""
    _limit: ClassVar[str] = "LIMIT"
    _overlaps: ClassVar[str]
    """Whether any of the tags in one parameter is there."""

    @abstractmethod
    def _compared(self, test: Test) -> tuple[str, Any]:
        """The value that a comparison is about, as SQL with one parameter, and that parameter."""

    @abstractmethod
    def _tags(self, tags: list[str]) -> Any: ...

    def _prepare(self, cursor: Any) -> None:
        """Settings of a search."""


def _holds_nul(value: Any) -> bool:
    if isinstance(value, (dict, list, tuple)):
        return any(map(_holds_nul, [*value, *value.values()] if isinstance(value, dict) else value))
    return isinstance(value, str) and "\0" in value


def _parsed(text: Any) -> Vector:
    pairs = [pair.split(":") for pair in str(text).partition("}")[0].strip("{").split(",") if pair]
    return Vector.of([int(column) - 1 for column, _ in pairs], [float(weight) for _, weight in pairs])
