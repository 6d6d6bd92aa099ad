"""seekdb, which speaks MySQL's protocol: `seekdb://USER@HOST:2881/DATABASE/TABLE`, exact unless `?index=sindi`.

A SPARSEVECTOR takes dimensions below 500,000. SINDI is its inverted index, searched approximately.
"""

from __future__ import annotations

import json
from typing import Any

from saelex.engines.entry import Entry
from saelex.engines.facets import Test
from saelex.engines.files.format import check_id
from saelex.engines.sql import COLUMNS, TYPES, SqlStore
from saelex.engines.url import EngineUrl
from saelex.index.engine import Limits
from saelex.installation import needs_extra

_ID_BYTES = 512
_ID = f"varchar({_ID_BYTES}) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
_TYPES = {**TYPES, "vector": "sparsevector"}
_SINDI = ", VECTOR INDEX vi(`vector`) WITH (distance=inner_product, type=sindi, lib=vsag)"
_GONE = (0, 2003, 2006, 2013, 2014, 4012, 1158, 1159, 1160, 1161, 1205)  # no server, lost it, or it was too busy


class SeekdbStore(SqlStore):
    """A table; its rows are the entries. Ties come in any order."""

    options = frozenset({"index"})
    batch = 200  # its statements have a time limit
    quote, name = "`", "seekdb"
    _replacing = "ON DUPLICATE KEY UPDATE " + ", ".join(f"`{column}` = VALUES(`{column}`)" for column in COLUMNS[1:])
    _distance = "negative_inner_product(`vector`, %s)"
    _overlaps = "JSON_OVERLAPS(`facets` -> '$.tags', %s)"

    def __init__(self, url: EngineUrl) -> None:
        super().__init__(url)
        self._sindi = url.option("index", {"none": False, "sindi": True}, "none")
        self._limit = "APPROXIMATE LIMIT" if self._sindi else "LIMIT"  # type: ignore[misc]
        self.limits = Limits(499_999, finds_all=not self._sindi)

    def _exists(self) -> bool:
        with self._cursor() as cursor:
            cursor.execute("SHOW TABLES LIKE %s", [self.url.name.replace("_", r"\_")])
            return cursor.fetchone() is not None

    def _make(self) -> None:
        columns = [f"`{column}` {_TYPES.get(column, 'longtext')} NOT NULL" for column in COLUMNS]
        columns[0] = f"`id` {_ID} PRIMARY KEY"
        with self._cursor() as cursor:
            cursor.execute(f"CREATE TABLE {self._table} ({', '.join(columns)}{_SINDI if self._sindi else ''})")

    def _row(self, entry: Entry) -> list[Any]:
        check_id(entry.id, _ID_BYTES, "seekdb")
        return super()._row(entry)

    def _compared(self, test: Test) -> tuple[str, Any]:
        value = f"JSON_EXTRACT(`facets`, CONCAT('$.{test.kind}.', %s))"
        field = json.dumps(test.field, ensure_ascii=False)
        return (f"JSON_UNQUOTE({value}) COLLATE utf8mb4_bin" if test.kind == "texts" else value), field

    def _is_lost(self, error: Exception) -> bool:
        return bool(error.args) and error.args[0] in _GONE

    def _tags(self, tags: list[str]) -> Any:
        return json.dumps(tags, ensure_ascii=False)

    @property
    def _errors(self) -> tuple[tuple[type[Exception], ...], tuple[type[Exception], ...]]:
        pymysql = _package()
        return (pymysql.OperationalError, pymysql.InterfaceError), (pymysql.Error,)

    def _connected(self) -> Any:
        url = self.url
        return _package().connect(
            host=url.host or "127.0.0.1", port=url.port or 2881, user=url.user or "root", password=url.password,
            database=url.folder.strip("/") or "test", charset="utf8mb4", connect_timeout=10, read_timeout=120,
        )  # fmt: skip


def _package() -> Any:
    try:
        import pymysql
    except ImportError as error:
        raise needs_extra("seekdb", "PyMySQL", "seekdb") from error
    return pymysql
