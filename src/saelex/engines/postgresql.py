"""PostgreSQL with pgvector 0.7 or later: `postgresql://USER@HOST/DATABASE/TABLE`, exact unless `?index=hnsw`.

A sparsevec holds 16,000 non-zeros, and 1,000 under HNSW. That index loses against a scan in the planner's eyes, which
would then be used without a word: under `index=hnsw` scans are off for a search.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saelex.engines.facets import Test
from saelex.engines.sql import COLUMNS, TYPES, SqlStore
from saelex.engines.url import EngineUrl
from saelex.index.engine import Limits
from saelex.installation import needs_extra

_WIDTH = 1_000_000_000  # columns of every vector, the most that pgvector has: words may join
_TYPES = {**TYPES, "vector": f"sparsevec({_WIDTH})"}
_EF: Mapping[str, int] = {str(n): n for n in range(1, 1001)}


class PostgresStore(SqlStore):
    """A table; its rows are the entries. Ties come in any order."""

    options = frozenset({"host", "sslmode", "index", "ef_search"})
    quote, name, dimensions = '"', "PostgreSQL", f"/{_WIDTH}"
    _replacing = 'ON CONFLICT ("id") DO UPDATE SET ' + ", ".join(
        f'"{column}" = excluded."{column}"' for column in COLUMNS[1:]
    )
    _distance = '"vector" <#> %s::sparsevec'
    _overlaps = '"tags" && %s'

    def __init__(self, url: EngineUrl) -> None:
        super().__init__(url)
        self._hnsw = url.option("index", {"none": False, "hnsw": True}, "none")
        self._ef = url.option("ef_search", _EF, "200")
        self.limits = Limits(_WIDTH, 1000 if self._hnsw else 16_000, finds_all=not self._hnsw)

    def _exists(self) -> bool:
        with self._cursor() as cursor:
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [self._table])
            return bool(cursor.fetchone()[0])

    def _make(self) -> None:
        columns = [f'"{column}" {_TYPES.get(column, "text")} NOT NULL' for column in COLUMNS]
        columns[0] = '"id" text COLLATE "C" PRIMARY KEY'
        tags = "ARRAY(SELECT json_array_elements_text(facets->'tags'))"
        with self._cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
            # a generated column cannot hold a sub-select, a function can
            cursor.execute(
                "CREATE OR REPLACE FUNCTION saelex_tags(facets json) RETURNS text[] IMMUTABLE LANGUAGE sql "
                f"AS $$SELECT {tags}$$"
            )
            generated = '"tags" text[] GENERATED ALWAYS AS (saelex_tags("facets")) STORED'
            cursor.execute(f"CREATE TABLE {self._table} ({', '.join(columns)}, {generated})")
            cursor.execute(f'CREATE INDEX ON {self._table} USING gin ("tags")')
            if self._hnsw:
                cursor.execute(f'CREATE INDEX ON {self._table} USING hnsw ("vector" sparsevec_ip_ops)')

    def _prepare(self, cursor: Any) -> None:
        if self._hnsw:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL hnsw.iterative_scan = strict_order")  # past what a filter leaves out
            cursor.execute(f"SET LOCAL hnsw.ef_search = {self._ef}")

    def _compared(self, test: Test) -> tuple[str, Any]:
        value = f"\"facets\" -> '{test.kind}' ->> %s"
        return (f'({value}) COLLATE "C"' if test.kind == "texts" else f"({value})::float8"), test.field

    def _tags(self, tags: list[str]) -> Any:
        return tags

    @property
    def _errors(self) -> tuple[tuple[type[Exception], ...], tuple[type[Exception], ...]]:
        psycopg = _package()
        return (psycopg.OperationalError, psycopg.InterfaceError), (psycopg.Error,)

    def _connected(self) -> Any:
        url = self.url
        given = {
            "host": url.options.get("host") or url.host, "port": url.port, "user": url.user, "password": url.password,
            "dbname": url.folder.strip("/") or "postgres", "sslmode": url.options.get("sslmode"),
        }  # fmt: skip
        return _package().connect(connect_timeout=10, **{key: value for key, value in given.items() if value})


def _package() -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise needs_extra("PostgreSQL", "psycopg[binary]", "postgresql") from error
    return psycopg
