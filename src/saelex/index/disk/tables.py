"""Tables whose rows carry checksums and whose totals are known: what is read is what was written, and all of it.

SQLite believes its file: a flipped bit in a row, a key or a page's pointers gives altered or missing rows without a
word. So every row has a crc32 of its values, compared whenever the row is read, and the table `totals` holds how many
rows each table has and the sum of their checksums. A scan of a whole table compares both and the order of its keys:
after it, a key that a lookup does not find is not there.
"""

from __future__ import annotations

import operator
import sqlite3
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from typing import Any

Row = tuple[Any, ...]

DAMAGE = (sqlite3.Error, UnicodeDecodeError)
"""What reading a damaged file raises; the latter where SQLite's own message quotes it."""

_BATCH = 500  # parameters of one statement
_PIECE = 1000  # rows of a scan that are compared at once


class Table:
    """One table of the catalogue. columns: names with types; the first one is the key.

    All methods raise sqlite3.DatabaseError for what is not as it was written.
    """

    def __init__(self, name: str, columns: Mapping[str, str], options: str = "") -> None:
        self.name = name
        self.key, *_ = self._columns = list(columns)
        kinds = ", ".join(f"{column} {kind}" for column, kind in columns.items())
        self.schema = f"CREATE TABLE {name} ({kinds}, checksum INTEGER NOT NULL){options}"
        self._form = "\0".join(["%s"] * len(columns))  # of a row as text
        self._stored_form = self._form + "%.0s"  # the same of a row with its checksum, which it leaves out
        self._seed = zlib.crc32(name.encode())  # a row that shows up in another table is damage as well
        self._all = f"SELECT {', '.join(columns)}, checksum FROM {name}"

    def checksum(self, row: Row) -> int:
        """crc32 of a row's values."""
        return zlib.crc32((self._form % row).encode(), self._seed)

    # ---- reading: rows come with their checksum as the last value ---------------------------------------------------

    def select(self, connection: sqlite3.Connection, condition: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """The rows for which a condition holds; none may be wanting, but that only a scan can tell."""
        return self._verified(connection.execute(f"{self._all} WHERE {condition}", parameters).fetchall())

    def lookup(self, connection: sqlite3.Connection, keys: Sequence[Any]) -> list[Row]:
        """The rows of these keys, as far as there are any."""
        found: list[Row] = []
        for first in range(0, len(keys), _BATCH):
            part = keys[first : first + _BATCH]
            found += self.select(connection, f"{self.key} IN ({','.join('?' * len(part))})", part)
        return found

    def scan(self, connection: sqlite3.Connection) -> Iterator[list[Row]]:
        """All rows in the order of their keys, in pieces.

        What the caller made of the rows holds only when the scan has come to its end.
        """
        total = n_rows = 0
        last: list[Any] = []
        # closed whatever happens: an error that somebody keeps would keep its statement, and that the lock of a reader
        with closing(connection.execute(f"{self._all} ORDER BY {self.key}")) as cursor:
            while rows := self._verified(cursor.fetchmany(_PIECE)):
                keys = last + [row[0] for row in rows]
                if not all(map(operator.lt, keys, keys[1:])):
                    raise sqlite3.DatabaseError(f"{self.name}: its rows are out of order")
                last = keys[-1:]
                total += sum([row[-1] for row in rows])
                n_rows += len(rows)
                yield rows
        expected = self.totals(connection)
        if (n_rows, total) != expected:
            raise sqlite3.DatabaseError(f"{self.name}: {n_rows} rows, not the {expected[0]} that were written")

    def rows(self, connection: sqlite3.Connection) -> list[Row]:
        """All rows in the order of their keys."""
        return list(chain.from_iterable(self.scan(connection)))

    def verify(self, connection: sqlite3.Connection) -> None:
        """Read it from end to end."""
        deque(self.scan(connection), maxlen=0)

    def totals(self, connection: sqlite3.Connection) -> tuple[int, int]:
        """How many rows it has, and the sum of their checksums."""
        found = _TOTALS.select(connection, "name = ?", (self.name,))
        if len(found) != 1:
            raise sqlite3.DatabaseError(f"{self.name}: its totals are missing")
        _, n_rows, checksums, _ = found[0]
        return n_rows, checksums

    def _verified(self, rows: list[Row]) -> list[Row]:
        form, seed, crc32 = self._stored_form, self._seed, zlib.crc32
        if [crc32((form % row).encode(), seed) for row in rows] != [row[-1] for row in rows]:
            damaged = next(row for row in rows if self.checksum(row[:-1]) != row[-1])
            raise sqlite3.DatabaseError(f"{self.name}: the row of {damaged[0]!r:.60} is damaged")
        return rows

    # ---- writing, inside a transaction ------------------------------------------------------------------------------

    def insert(self, connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
        """Rows with new keys."""
        checksums = self._write(connection, "INSERT", rows)
        self._count(connection, len(checksums), sum(checksums))

    def delete(self, connection: sqlite3.Connection, keys: Sequence[Any]) -> None:
        """Remove the rows of these keys, as far as there are any."""
        gone = self.lookup(connection, keys)
        connection.executemany(f"DELETE FROM {self.name} WHERE {self.key} = ?", [(row[0],) for row in gone])
        self._count(connection, -len(gone), -sum(row[-1] for row in gone))

    def replace(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        """Rows in place of those with the same keys, if there are any."""
        self.delete(connection, [row[0] for row in rows])
        self.insert(connection, rows)

    def _write(self, connection: sqlite3.Connection, verb: str, rows: Iterable[Row]) -> list[int]:
        signed = [(*row, self.checksum(row)) for row in rows]
        places = ",".join("?" * (len(self._columns) + 1))
        connection.executemany(f"{verb} INTO {self.name} VALUES ({places})", signed)
        return [row[-1] for row in signed]

    def _count(self, connection: sqlite3.Connection, n_rows: int, checksums: int) -> None:
        known_rows, known_checksums = self.totals(connection)
        self._set_totals(connection, known_rows + n_rows, known_checksums + checksums)

    def _set_totals(self, connection: sqlite3.Connection, n_rows: int, checksums: int) -> None:
        _TOTALS._write(connection, "INSERT OR REPLACE", [(self.name, n_rows, checksums)])


_TOTALS = Table("totals", {"name": "TEXT PRIMARY KEY", "n_rows": "INTEGER", "checksums": "INTEGER"}, " WITHOUT ROWID")


def create_tables(connection: sqlite3.Connection, tables: Sequence[Table]) -> None:
    """The empty tables of a new file."""
    for table in (_TOTALS, *tables):
        connection.execute(table.schema)
    for table in tables:
        table._set_totals(connection, 0, 0)


def check_schema(connection: sqlite3.Connection, tables: Sequence[Table]) -> None:
    """Raises sqlite3.DatabaseError unless the file has just these tables: a column's type decides how keys compare."""
    found = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    expected = {table.name: table.schema for table in (_TOTALS, *tables)}
    for name in sorted({*found, *expected}):
        if found.get(name) != expected.get(name):
            raise sqlite3.DatabaseError(f"{name}: not the table that it should be")
