"""The catalogue: one SQLite file that says what is in the index. Its transactions are the index's commits."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.corpus.documents import Document
from saelex.errors import CorruptIndexError, SaelexError
from saelex.index.disk import durable
from saelex.index.disk.array_file import FileRecord
from saelex.index.disk.tables import DAMAGE, Table, check_schema, create_tables

FORMAT = "saelex-index/2"

SETTINGS = Table("settings", {"name": "TEXT PRIMARY KEY", "value": "TEXT"}, " WITHOUT ROWID")
SEGMENTS = Table("segments", {"number": "INTEGER PRIMARY KEY", "first_passage": "INTEGER", "file": "TEXT"})
# A document's number is that of its first passage and never used again. passages: the borders of each in
# Document.content, NULL where it has one only, which is all of it. digest: of the content, for `resume`.
DOCUMENTS = Table(
    "documents",
    {"number": "INTEGER PRIMARY KEY", "id": "TEXT", "passages": "TEXT", "metadata": "TEXT", "digest": "BLOB"},
)
IDS = Table("ids", {"id": "TEXT PRIMARY KEY", "number": "INTEGER"}, " WITHOUT ROWID")
TEXTS = Table("texts", {"number": "INTEGER PRIMARY KEY", "title": "TEXT", "text": "TEXT"})
TOMBSTONES = Table("tombstones", {"document": "INTEGER PRIMARY KEY"})  # deleted, but its rows are in a segment still
STATES = Table("states", {"name": "TEXT PRIMARY KEY", "value": "TEXT"}, " WITHOUT ROWID")  # large, and seldom read
WORDS = Table("words", {"dimension": "INTEGER PRIMARY KEY", "word": "TEXT"})
TABLES = (SETTINGS, SEGMENTS, DOCUMENTS, IDS, TEXTS, TOMBSTONES, STATES, WORDS)

# What SQLite says when the file is held by somebody else, or when the disk or the rights are at fault. All else that it
# says of a file is damage.
_BUSY = ("database is locked", "database table is locked", "database schema is locked")
_REFUSED = ("database or disk is full", "attempt to write a readonly database", "unable to open database file")


class StoredDocument(NamedTuple):
    """A document as it is stored: number of its first passage, and the characters of each passage."""

    number: int
    document: Document
    passages: Sequence[tuple[int, int]]
    digest: bytes | None

    def borders(self, passage: int) -> tuple[int, int]:
        """The characters of one of its passages, by the passage's number in the index."""
        return self.passages[passage - self.number]


class Catalog:
    """The tables behind an index. One connection, which the threads of a process take in turns.

    Whatever is read was compared with its checksums (`Table`). A forked process opens a connection of its own.

    Journal mode DELETE, so that an index on a read-only disk can be searched, and `synchronous=EXTRA`: FULL, and the
    folder synced after the journal is removed. With FULL alone a power cut could bring back the journal and with it a
    catalogue that names segments which the merge after it has removed.
    """

    def __init__(self, path: Path, mode: str = "rw") -> None:
        self.path = path
        self._lock = threading.RLock()
        self._shared: sqlite3.Connection | None = _connect(path, mode)
        self._verified: dict[str, int] = {}  # generations at which tables were read from end to end
        _OPEN.add(self)

    @classmethod
    def create(cls, path: Path, settings: Mapping[str, Any]) -> None:
        """A new catalogue with these settings, durable when this returns."""
        catalog = cls(path, "rwc")
        try:
            connection = catalog._connection()
            connection.execute("BEGIN IMMEDIATE")
            create_tables(connection, TABLES)
            Transaction(connection).set_settings(
                {"format": FORMAT, "generation": 1, "next_passage": 0, "next_segment": 1, **settings}
            )
            durable.commit(connection)
        except DAMAGE as error:
            raise _readable(path, error) from error
        finally:
            catalog.close()

    @classmethod
    def open(cls, path: Path) -> Catalog:
        """Raises CorruptIndexError for a file that is missing, damaged or foreign."""
        durable.check_own(path)
        if not path.is_file():
            raise CorruptIndexError(
                f"{path.parent}: not an index (it has no {path.name}); make one with `saelex index`"
            )
        catalog = cls(path)
        try:
            with catalog.reading() as connection:
                written = connection.execute("SELECT value FROM settings WHERE name = 'format'").fetchone()
                if written != (json.dumps(FORMAT),):
                    found = "unknown format" if written is None else f"format {written[0]}"
                    raise CorruptIndexError(f"{path}: of {found}, this version reads {FORMAT!r}; build the index anew")
                check_schema(connection, TABLES)
        except BaseException:
            catalog.close()
            raise
        return catalog

    def close(self) -> None:
        """Let go of the file."""
        if self._shared is not None:
            self._shared.close()

    def _connection(self) -> sqlite3.Connection:
        if self._shared is None:  # in a forked process
            self._shared = _connect(self.path, "rw")
        return self._shared

    def _let_go_after_fork(self) -> None:
        # Never closed here: closing could roll back what the parent is writing. Nor may the lock be kept, which another
        # thread of the parent may hold for good.
        _INHERITED.append(self._shared)
        self._shared, self._lock = None, threading.RLock()

    # ---- reading ----------------------------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent state of all tables, whatever a writer does meanwhile."""
        with self._lock:
            outermost, connection = False, self._connection()
            try:
                outermost = not connection.in_transaction
                if outermost:
                    connection.execute("BEGIN")
                yield connection
            except DAMAGE as error:
                trouble = _readable(self.path, error)
                if isinstance(trouble, OSError):
                    hint = "; try again" if str(error) in _BUSY else ""
                    trouble = SaelexError(f"{self.path}: cannot be read now ({trouble}){hint}")
                raise trouble from error
            finally:
                if outermost and connection is self._shared and connection.in_transaction:
                    connection.rollback()

    def settings(self) -> dict[str, Any]:
        """All settings by name."""
        with self.reading() as connection:
            return {name: json.loads(value) for name, value, _ in SETTINGS.rows(connection)}

    def generation(self) -> int:
        """Number of the last commit: a snapshot is of one generation."""
        with self.reading() as connection:
            return _generation(connection)

    def segments(self) -> list[tuple[int, FileRecord]]:
        """Number and file of every segment, in the order of their passages."""
        with self.reading() as connection:
            rows = sorted(SEGMENTS.rows(connection), key=lambda row: row[1])
        return [(number, FileRecord(*json.loads(record))) for number, _, record, _ in rows]

    def tombstones(self) -> NDArray[np.int64]:
        """Numbers of the deleted documents whose rows are still there."""
        with self.reading() as connection:
            return np.array([number for number, _ in TOMBSTONES.rows(connection)], np.int64)

    def n_documents(self) -> int:
        with self.reading() as connection:
            return DOCUMENTS.totals(connection)[0]

    def ids(self, above: int = -1) -> list[tuple[int, str]]:
        """Number and id of every document with a number above the one given, in the order of the numbers."""
        with self.reading() as connection:
            if above < 0:
                return [row[:2] for piece in DOCUMENTS.scan(connection) for row in piece]
            return [row[:2] for row in DOCUMENTS.select(connection, "number > ? ORDER BY number", (above,))]

    def passage_counts(self) -> list[tuple[int, int]]:
        """Number and number of passages of every document."""
        with self.reading() as connection:
            rows = chain.from_iterable(DOCUMENTS.scan(connection))
            return [(number, len(json.loads(borders)) if borders else 1) for number, _, borders, *_ in rows]

    def find(self, ids: Iterable[str]) -> dict[str, tuple[int, bytes | None]]:
        """Number and content digest of those ids that are in the index."""
        wanted = list(ids)
        with self.reading() as connection:
            numbers = {number: name for name, number, _ in IDS.lookup(connection, wanted)}
            if len(numbers) < len(set(wanted)):
                self._verify(IDS, connection)  # that an id is not there, a lookup alone cannot tell
            rows = DOCUMENTS.lookup(connection, list(numbers))
            if {row[0]: row[1] for row in rows} != numbers:
                raise sqlite3.DatabaseError("ids and documents disagree")
        return {name: (number, digest) for number, name, _, _, digest, _ in rows}

    def _verify(self, table: Table, connection: sqlite3.Connection) -> None:
        """Read a table from end to end, once a commit: about a second for a million rows."""
        generation = _generation(connection)
        if self._verified.get(table.name) != generation:
            table.verify(connection)
            self._verified[table.name] = generation

    def documents(self, numbers: Iterable[int]) -> dict[int, StoredDocument]:
        """The documents of these numbers; a number that is gone is left out."""
        chosen = list(numbers)
        with self.reading() as connection:
            rows = DOCUMENTS.lookup(connection, chosen)
            texts = {number: (text, title) for number, title, text, _ in TEXTS.lookup(connection, chosen)}
            if len(texts) != len(rows):
                raise sqlite3.DatabaseError("documents and their texts disagree")
        documents: dict[int, StoredDocument] = {}
        for number, name, borders, metadata, digest, _ in rows:
            document = Document(name, *texts[number], json.loads(metadata or "{}"))
            passages = json.loads(borders) if borders else [(0, len(document.content))]
            documents[number] = StoredDocument(number, document, passages, digest)
        return documents

    def filtered(self, condition: str, parameters: Sequence[Any]) -> NDArray[np.int64]:
        """Numbers of the documents for which an SQL condition on `metadata` holds (see `saelex.index.filters`)."""
        with self.reading() as connection:
            self._verify(DOCUMENTS, connection)  # what SQL makes of damaged metadata would not show
            rows = connection.execute(f"SELECT number FROM {DOCUMENTS.name} WHERE {condition}", parameters).fetchall()
        return np.array([number for (number,) in rows], np.int64)

    def values(self, path: str, most: int) -> list[tuple[str, Any]]:
        """Type and value of what documents have at a path in `metadata`, each once; items of lists, no objects.

        most: after so many it stops.
        """
        with self.reading() as connection:
            self._verify(DOCUMENTS, connection)
            return connection.execute(
                f"SELECT DISTINCT type, value FROM {DOCUMENTS.name}, json_each(metadata, ?) "
                "WHERE typeof(key) != 'text' AND type NOT IN ('object', 'array', 'null') LIMIT ?",
                (path, most),
            ).fetchall()

    def words(self, start: int) -> list[str]:
        """The words from a dimension on, in order."""
        with self.reading() as connection:
            rows = WORDS.select(connection, "dimension >= ? ORDER BY dimension", (start,))
            last = WORDS.totals(connection)[0]
            if [row[0] for row in rows] != list(range(start, last)):
                raise sqlite3.DatabaseError(f"words: {len(rows)} for the dimensions {start}..{last - 1}")
        return [word for _, word, _ in rows]

    def n_words(self) -> int:
        with self.reading() as connection:
            return WORDS.totals(connection)[0]

    def state(self, name: str) -> str | None:
        """A part's saved state."""
        with self.reading() as connection:
            return {row[0]: row[1] for row in STATES.rows(connection)}.get(name)

    def problems(self) -> list[str]:
        """What SQLite itself and the tables' checksums and agreement have to say; empty when all is well."""
        found: list[str] = []
        with self.reading() as connection:
            with _noted(found):
                found += _pages(connection)
            for table in TABLES:
                with _noted(found):
                    table.verify(connection)
            with _noted(found):
                found += _disagreements(connection)
        return found

    # ---- writing ----------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """All or nothing: committed durably at the end of the block, rolled back by an exception."""
        with self._lock:
            connection = self._connection()
            try:
                connection.execute("BEGIN IMMEDIATE")
                generation, transaction = _generation(connection), Transaction(connection)
                yield transaction
                transaction.set_settings({"generation": generation + 1})
                if connection is not self._shared:
                    raise SaelexError(f"{self.path}: a forked process cannot end its parent's commit")
                durable.commit(connection)
                for table, verified in self._verified.items():
                    if verified == generation:  # the changes are our own
                        self._verified[table] = generation + 1
            except DAMAGE as error:
                raise _readable(self.path, error, writing=True) from error
            finally:
                if connection is self._shared and connection.in_transaction:
                    connection.rollback()


class Transaction:
    """The changes of one commit."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def set_settings(self, settings: Mapping[str, Any]) -> None:
        """Set some settings; the others stay."""
        rows = [(name, json.dumps(value, ensure_ascii=False)) for name, value in settings.items()]
        SETTINGS.replace(self._connection, rows)

    def add_segment(self, number: int, first_passage: int, file: FileRecord) -> None:
        """Name a segment whose file is durable already."""
        SEGMENTS.insert(self._connection, [(number, first_passage, json.dumps(file))])
        self.set_settings({"next_segment": number + 1})

    def remove_segments(self, numbers: Iterable[int]) -> None:
        """Forget segments; their files are removed after the commit."""
        SEGMENTS.delete(self._connection, list(numbers))

    def add_documents(self, documents: Sequence[StoredDocument], next_passage: int) -> None:
        """Documents and their passages; the caller has made sure that the ids are new."""
        DOCUMENTS.insert(self._connection, map(_record, documents))
        IDS.insert(self._connection, [(stored.document.id, stored.number) for stored in documents])
        texts = [(stored.number, stored.document.title, stored.document.text) for stored in documents]
        TEXTS.insert(self._connection, texts)
        self.set_settings({"next_passage": next_passage})

    def add_ids(self, first: int, ids: Sequence[str]) -> None:
        """Documents of which only the id is kept, one passage each, numbered from `first` on; the ids are new."""
        numbers = range(first, first + len(ids))
        DOCUMENTS.insert(self._connection, ((number, name, None, None, None) for number, name in zip(numbers, ids)))
        IDS.insert(self._connection, zip(ids, numbers))
        self.set_settings({"next_passage": first + len(ids)})

    def delete_documents(self, numbers: Sequence[int]) -> None:
        """Documents leave the tables; tombstones hide their rows until a merge drops them."""
        ids = [row[1] for row in DOCUMENTS.lookup(self._connection, numbers)]
        DOCUMENTS.delete(self._connection, numbers)
        IDS.delete(self._connection, ids)
        TEXTS.delete(self._connection, numbers)
        TOMBSTONES.insert(self._connection, [(number,) for number in numbers])

    def drop_tombstones(self, numbers: Iterable[int]) -> None:
        """The rows of these deleted documents are gone."""
        TOMBSTONES.delete(self._connection, list(numbers))

    def set_state(self, name: str, value: str) -> None:
        """A part's state, to be read as a whole."""
        STATES.replace(self._connection, [(name, value)])

    def add_words(self, start: int, words: Sequence[str]) -> None:
        """Words that joined the vocabulary, from dimension `start` on."""
        WORDS.insert(self._connection, enumerate(words, start))


_OPEN: weakref.WeakSet[Catalog] = weakref.WeakSet()
_INHERITED: list[sqlite3.Connection | None] = []


def _let_go_after_fork() -> None:
    for catalog in _OPEN:
        catalog._let_go_after_fork()


os.register_at_fork(after_in_child=_let_go_after_fork)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous = EXTRA")
        # without it a large transaction would lock readers out long before its commit
        connection.execute("PRAGMA cache_spill = OFF")
    except DAMAGE as error:
        raise _readable(path, error) from error
    return connection


def _readable(path: Path, error: Exception, *, writing: bool = False) -> SaelexError | OSError:
    """What SQLite raised, as a file that is busy, a disk or rights that refuse, or a damaged index."""
    if isinstance(error, sqlite3.ProgrammingError):
        return SaelexError(f"{path.parent}: the index is closed; open it again")
    if str(error) in (*_BUSY, *_REFUSED) or (writing and str(error) == "disk I/O error"):
        return OSError(str(error))
    return CorruptIndexError(
        f"{path}: not a readable catalogue ({error}); restore the index from a copy or build it anew"
    )


def _generation(connection: sqlite3.Connection) -> int:
    found = SETTINGS.lookup(connection, ["generation"])
    if not found:
        raise sqlite3.DatabaseError("settings: the generation is missing")
    return int(found[0][1])


def _record(stored: StoredDocument) -> tuple[Any, ...]:
    """Its row in the documents' table."""
    document = stored.document
    metadata = json.dumps(dict(document.metadata), ensure_ascii=False) if document.metadata else None
    passages = json.dumps(stored.passages) if len(stored.passages) > 1 else None
    return stored.number, document.id, passages, metadata, stored.digest


@contextmanager
def _noted(problems: list[str]) -> Iterator[None]:
    """Damage as a line instead of an error."""
    try:
        yield
    except DAMAGE as error:
        problems.append(f"catalogue: {error}")


def _pages(connection: sqlite3.Connection) -> list[str]:
    """What SQLite finds wrong with its pages."""
    return [f"catalogue: {text}" for (text,) in connection.execute("PRAGMA integrity_check").fetchall() if text != "ok"]


def _disagreements(connection: sqlite3.Connection) -> list[str]:
    """Where the tables do not fit together."""
    ids = {number: name for name, number, _ in IDS.rows(connection)}
    found = [
        f"document {number} ({name!r}) is under another id or none"
        for number, name, *_ in chain.from_iterable(DOCUMENTS.scan(connection))
        if ids.pop(number, None) != name
    ]
    found += [f"id {name!r} is of no document" for name in ids.values()]
    dimensions = [row[0] for row in WORDS.rows(connection)]
    if dimensions != list(range(len(dimensions))):
        found.append(f"words: {len(dimensions)} for the dimensions 0..{dimensions[-1]}")
    return found
