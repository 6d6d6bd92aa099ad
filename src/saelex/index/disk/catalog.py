"""The catalogue: one SQLite file that says what is in the index. Its transactions are the index's commits."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.corpus.documents import Document
from saelex.errors import CorruptIndexError, SaelexError
from saelex.index.disk import durable
from saelex.index.disk.array_file import FileRecord

FORMAT = "saelex-index/2"

_SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE segments (number INTEGER PRIMARY KEY, first_passage INTEGER NOT NULL, manifest TEXT NOT NULL);
CREATE TABLE documents (
    number INTEGER PRIMARY KEY,  -- that of its first passage; never used again
    id TEXT NOT NULL UNIQUE,
    n_passages INTEGER NOT NULL,
    title TEXT, text TEXT, metadata TEXT, digest BLOB
);
-- only of documents that have more than one passage; a passage's characters are those of Document.content
CREATE TABLE passages (
    number INTEGER PRIMARY KEY, document INTEGER NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL
);
CREATE TABLE tombstones (document INTEGER PRIMARY KEY);  -- deleted, but its rows are still in a segment
CREATE TABLE states (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;  -- what is large and seldom read
CREATE TABLE words (dimension INTEGER PRIMARY KEY, word TEXT NOT NULL);
"""
_BATCH = 500  # parameters of one statement


class StoredDocument(NamedTuple):
    """A document as it is written: number of its first passage, and the characters of each passage."""

    number: int
    document: Document
    passages: Sequence[tuple[int, int]]
    digest: bytes | None


class Catalog:
    """The tables behind an index. One connection, which the threads of a process take in turns.

    Journal mode DELETE, so that an index on a read-only disk can be searched, and `synchronous=EXTRA`: FULL, and the
    folder synced after the journal is removed. With FULL alone a power cut could bring back the journal and with it a
    catalogue that names segments which the merge after it has removed.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()

    @classmethod
    def create(cls, path: Path, settings: Mapping[str, Any]) -> None:
        """A new catalogue with these settings, durable when this returns."""
        catalog = cls(path, _connect(path, "rwc"))
        try:
            catalog._connection.executescript(_SCHEMA)
            with catalog.transaction() as transaction:
                transaction.set_settings(
                    {"format": FORMAT, "generation": 0, "next_passage": 0, "next_segment": 1, **settings}
                )
        except sqlite3.DatabaseError as error:
            raise _readable(path, error) from error
        finally:
            catalog.close()

    @classmethod
    def open(cls, path: Path) -> Catalog:
        """Raises CorruptIndexError for a file that is missing, damaged or foreign."""
        if not path.is_file():
            raise CorruptIndexError(
                f"{path.parent}: not an index (it has no {path.name}); make one with `saelex index`"
            )
        catalog = cls(path, _connect(path, "rw"))
        try:
            found = catalog.settings().get("format")
        except BaseException:
            catalog.close()
            raise
        if found != FORMAT:
            catalog.close()
            raise CorruptIndexError(f"{path}: of format {found!r}, this version reads {FORMAT!r}; build the index anew")
        return catalog

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    # ---- reading ----------------------------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent state of all tables, whatever a writer does meanwhile."""
        with self._lock:
            outermost = False
            try:
                outermost = not self._connection.in_transaction
                if outermost:
                    self._connection.execute("BEGIN")
                yield self._connection
            except sqlite3.DatabaseError as error:
                trouble = _readable(self.path, error)
                if isinstance(trouble, OSError):
                    trouble = SaelexError(f"{self.path}: cannot be read now ({trouble}); try again")
                raise trouble from error
            finally:
                if outermost and self._connection.in_transaction:
                    self._connection.rollback()

    def settings(self) -> dict[str, Any]:
        """All settings by name."""
        with self.reading() as connection:
            return {name: json.loads(value) for name, value in connection.execute("SELECT name, value FROM settings")}

    def generation(self) -> int:
        """Number of the last commit: a snapshot is of one generation."""
        with self.reading() as connection:
            return int(connection.execute("SELECT value FROM settings WHERE name = 'generation'").fetchone()[0])

    def segments(self) -> list[tuple[int, FileRecord]]:
        """Number and file of every segment, in the order of their passages."""
        with self.reading() as connection:
            rows = connection.execute("SELECT number, manifest FROM segments ORDER BY first_passage").fetchall()
        return [(number, FileRecord(*json.loads(record))) for number, record in rows]

    def tombstones(self) -> NDArray[np.int64]:
        """Numbers of the deleted documents whose rows are still there."""
        with self.reading() as connection:
            return _integers(connection.execute("SELECT document FROM tombstones ORDER BY document"))

    def n_documents(self) -> int:
        with self.reading() as connection:
            return int(connection.execute("SELECT count(*) FROM documents").fetchone()[0])

    def ids(self, above: int = -1) -> list[tuple[int, str]]:
        """Number and id of every document with a number above the one given."""
        with self.reading() as connection:
            return connection.execute(
                "SELECT number, id FROM documents WHERE number > ? ORDER BY number", (above,)
            ).fetchall()

    def passage_counts(self) -> list[tuple[int, int]]:
        """Number and number of passages of every document."""
        with self.reading() as connection:
            return connection.execute("SELECT number, n_passages FROM documents").fetchall()

    def find(self, ids: Iterable[str]) -> dict[str, tuple[int, bytes | None]]:
        """Number and content digest of those ids that are in the index."""
        with self.reading() as connection:
            found = _select(connection, "SELECT id, number, digest FROM documents WHERE id IN", list(ids))
        return {name: (number, digest) for name, number, digest in found}

    def documents(self, numbers: Iterable[int]) -> dict[int, Document]:
        """The documents of these numbers; a number that is gone is left out."""
        with self.reading() as connection:
            found = _select(
                connection, "SELECT number, id, text, title, metadata FROM documents WHERE number IN", list(numbers)
            )
        return {
            number: Document(name, text or "", title or "", json.loads(metadata or "{}"))
            for number, name, text, title, metadata in found
        }

    def passages(self, numbers: Iterable[int]) -> dict[int, tuple[int, int]]:
        """Characters of these passages; one that is a whole document is left out."""
        with self.reading() as connection:
            found = _select(connection, 'SELECT number, start, "end" FROM passages WHERE number IN', list(numbers))
        return {number: (start, end) for number, start, end in found}

    def filtered(self, condition: str, parameters: Sequence[Any]) -> NDArray[np.int64]:
        """Numbers of the documents for which an SQL condition on `metadata` holds (see `saelex.index.filters`)."""
        with self.reading() as connection:
            return _integers(connection.execute(f"SELECT number FROM documents WHERE {condition}", parameters))

    def words(self, start: int) -> list[str]:
        """The words from a dimension on, in order."""
        with self.reading() as connection:
            rows = connection.execute("SELECT word FROM words WHERE dimension >= ? ORDER BY dimension", (start,))
            return [word for (word,) in rows]

    def n_words(self) -> int:
        with self.reading() as connection:
            return int(connection.execute("SELECT count(*) FROM words").fetchone()[0])

    def state(self, name: str) -> str | None:
        """A part's saved state."""
        with self.reading() as connection:
            row = connection.execute("SELECT value FROM states WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def problems(self) -> list[str]:
        """What SQLite itself and the tables' agreement with each other have to say; empty when all is well."""
        with self.reading() as connection:
            found = [text for (text,) in connection.execute("PRAGMA integrity_check") if text != "ok"]
            query = (
                "SELECT d.id FROM documents d LEFT JOIN passages p ON p.document = d.number"
                " GROUP BY d.number HAVING count(p.number) != CASE d.n_passages WHEN 1 THEN 0 ELSE d.n_passages END"
            )
            found += [f"document {name!r}: passages are missing" for (name,) in connection.execute(query)]
            query = "SELECT p.number FROM passages p LEFT JOIN documents d ON d.number = p.document WHERE d.id IS NULL"
            found += [f"passage {number} belongs to no document" for (number,) in connection.execute(query)]
            n_words, last = connection.execute("SELECT count(*), coalesce(max(dimension), -1) FROM words").fetchone()
            if n_words != last + 1:
                found.append(f"words: {n_words} for the dimensions 0..{last}")
        return found

    # ---- writing ----------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """All or nothing: committed durably at the end of the block, rolled back by an exception."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield Transaction(self._connection)
                self._connection.execute("UPDATE settings SET value = value + 1 WHERE name = 'generation'")
                durable.commit(self._connection)
            except sqlite3.DatabaseError as error:
                raise _readable(self.path, error) from error
            finally:
                if self._connection.in_transaction:
                    self._connection.rollback()


class Transaction:
    """The changes of one commit."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def set_settings(self, settings: Mapping[str, Any]) -> None:
        """Set some settings; the others stay."""
        rows = [(name, json.dumps(value, ensure_ascii=False)) for name, value in settings.items()]
        self._connection.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", rows)

    def add_segment(self, number: int, first_passage: int, file: FileRecord) -> None:
        """Name a segment whose file is durable already."""
        self._connection.execute("INSERT INTO segments VALUES (?, ?, ?)", (number, first_passage, json.dumps(file)))
        self.set_settings({"next_segment": number + 1})

    def remove_segments(self, numbers: Iterable[int]) -> None:
        """Forget segments; their files are removed after the commit."""
        self._connection.executemany("DELETE FROM segments WHERE number = ?", [(number,) for number in numbers])

    def add_documents(self, documents: Sequence[StoredDocument], next_passage: int) -> None:
        """Documents and their passages; the caller has made sure that the ids are new."""
        self._connection.executemany("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?)", map(_record, documents))
        self._connection.executemany(
            "INSERT INTO passages VALUES (?, ?, ?, ?)",
            (
                (stored.number + i, stored.number, start, end)
                for stored in documents
                if len(stored.passages) > 1
                for i, (start, end) in enumerate(stored.passages)
            ),
        )
        self.set_settings({"next_passage": next_passage})

    def add_ids(self, first: int, ids: Sequence[str]) -> None:
        """Documents of which only the id is kept, one passage each, numbered from `first` on; the ids are new."""
        insert = "INSERT INTO documents (number, id, n_passages) VALUES (?, ?, 1)"
        self._connection.executemany(insert, enumerate(ids, first))
        self.set_settings({"next_passage": first + len(ids)})

    def delete_documents(self, numbers: Sequence[int]) -> None:
        """Documents and passages leave the tables; tombstones hide their rows until a merge drops them."""
        rows = [(number,) for number in numbers]
        self._connection.executemany("DELETE FROM documents WHERE number = ?", rows)
        self._connection.executemany("DELETE FROM passages WHERE document = ?", rows)
        self._connection.executemany("INSERT INTO tombstones VALUES (?)", rows)

    def drop_tombstones(self, numbers: Iterable[int]) -> None:
        """The rows of these deleted documents are gone."""
        self._connection.executemany("DELETE FROM tombstones WHERE document = ?", [(number,) for number in numbers])

    def set_state(self, name: str, value: str) -> None:
        """A part's state, to be read as a whole."""
        self._connection.execute("INSERT OR REPLACE INTO states VALUES (?, ?)", (name, value))

    def add_words(self, start: int, words: Sequence[str]) -> None:
        """Words that joined the vocabulary, from dimension `start` on."""
        self._connection.executemany("INSERT INTO words VALUES (?, ?)", enumerate(words, start))


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous = EXTRA")
        # without it a large transaction would lock readers out long before its commit
        connection.execute("PRAGMA cache_spill = OFF")
    except sqlite3.DatabaseError as error:
        raise _readable(path, error) from error
    return connection


def _readable(path: Path, error: sqlite3.DatabaseError) -> SaelexError | OSError:
    """What SQLite raised, as a full disk, another trouble with the file, or a damaged index."""
    if isinstance(error, sqlite3.ProgrammingError):
        return SaelexError(f"{path.parent}: the index is closed; open it again")
    if isinstance(error, sqlite3.OperationalError) and not str(error).startswith("no such"):
        return OSError(str(error))
    return CorruptIndexError(
        f"{path}: not a readable catalogue ({error}); restore the index from a copy or build it anew"
    )


def _select(connection: sqlite3.Connection, start: str, values: list[Any]) -> Iterator[Any]:
    for first in range(0, len(values), _BATCH):
        part = values[first : first + _BATCH]
        yield from connection.execute(f"{start} ({','.join('?' * len(part))})", part).fetchall()


def _integers(rows: Iterable[tuple[int]]) -> NDArray[np.int64]:
    return np.fromiter((number for (number,) in rows), np.int64)


def _record(stored: StoredDocument) -> tuple[Any, ...]:
    document = stored.document
    metadata = json.dumps(dict(document.metadata), ensure_ascii=False) if document.metadata else None
    return (
        stored.number,
        document.id,
        len(stored.passages),
        document.title or None,
        document.text,
        metadata,
        stored.digest,
    )
