"""ConceptStore: labels, evidence and examples of an index's latents, in one SQLite file beside it."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import sqlite3
import weakref
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from saelex.concepts.concept import CONTEXT_MARK, SEPARATOR, Concept, Evidence, Example, Published
from saelex.encoder.words.telling import told_language
from saelex.errors import CorruptIndexError, InputError, MismatchError, SaelexError
from saelex.files import expanded, replacing
from saelex.reading.regular import regular_file

FILE_NAME = "concepts.sqlite"
SCHEMA_VERSION = 2
MOST_MEANT = 8
"""A name that fits more latents than this means too much to steer by."""
_MOST_COUNTED = 1000

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE concept (
    latent INTEGER PRIMARY KEY, label TEXT NOT NULL, evidence TEXT NOT NULL, examples TEXT NOT NULL,
    density REAL NOT NULL, mean_weight REAL NOT NULL, source TEXT NOT NULL
);
CREATE VIRTUAL TABLE concept_text USING fts5(label, evidence, tokenize = 'porter unicode61');
"""
# made with the first label in a language: without any the file is as it was before there were such labels
_LANGUAGES = """
CREATE TABLE IF NOT EXISTS label (
    latent INTEGER NOT NULL, language TEXT NOT NULL, label TEXT NOT NULL, PRIMARY KEY (latent, language)
) WITHOUT ROWID
"""
# made likewise, with the first published label
_PUBLISHED = """
CREATE TABLE IF NOT EXISTS published (
    latent INTEGER PRIMARY KEY, text TEXT NOT NULL, author TEXT NOT NULL, source TEXT NOT NULL
)
"""
_PUBLISHED_IN = "en"  # Neuronpedia's explanations are in English
_SIGNATURE = slice(60, 64)  # bytes of the file that SQLite leaves to the application ("user version")
_COLUMNS = "latent, label, evidence, examples, density, mean_weight, source"


class ConceptStore:
    """What the latents of one encoder mean, as one corpus shows it. Opened for reading; `write` makes a new one.

    fingerprint: of the encoder whose latents these are.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, fingerprint: str) -> None:
        self._path = path
        self._connection = connection
        self._process = os.getpid()
        weakref.finalize(self, connection.close)  # who has it still may ask it when another has taken its place
        self.fingerprint = fingerprint
        self.languages: tuple[str, ...] = ()
        """Those that some latents have labels in."""
        tables = {name for (name,) in self._execute("SELECT name FROM sqlite_master")}
        self._has_published = "published" in tables
        if "label" in tables:
            self.languages = tuple(code for (code,) in self._execute("SELECT DISTINCT language FROM label ORDER BY 1"))

    @classmethod
    def write(cls, path: str | Path, concepts: Iterable[Concept], *, fingerprint: str) -> ConceptStore:
        """Write all concepts to a new file, which takes the place of an old one only when it is whole; then open it.

        Raises InputError when two concepts name the same latent, SaelexError when the file cannot be written.
        """
        target = expanded(path)
        try:
            with replacing(target) as temporary:
                with contextlib.closing(sqlite3.connect(temporary)) as connection, connection:
                    connection.executescript(_SCHEMA)
                    settings = {"schema_version": str(SCHEMA_VERSION), "fingerprint": fingerprint}
                    connection.executemany("INSERT INTO meta VALUES (?, ?)", settings.items())
                    for concept in concepts:
                        _insert(connection, concept)
                _sign(temporary)
        except sqlite3.IntegrityError as error:
            raise InputError(f"concepts: a latent is there twice ({error}); give one concept for each") from error
        except (sqlite3.OperationalError, OSError) as error:  # a full disk, missing rights
            raise SaelexError(f"{target}: cannot be written ({error}); the file is as it was, or whole") from error
        return cls.open(target, fingerprint=fingerprint)

    @classmethod
    def open(cls, path: str | Path, *, fingerprint: str | None = None) -> ConceptStore:
        """Open a store, checking that it is as it was written, and that it is of this encoder (None: any).

        Raises InputError for a file that is missing or not a concept store, CorruptIndexError for a damaged one,
        MismatchError for another encoder's.
        """
        source = regular_file(expanded(path))
        with contextlib.ExitStack() as on_failure:
            try:
                connection = _connect(source)
                on_failure.callback(connection.close)
                meta = dict(connection.execute("SELECT key, value FROM meta"))
                _check_schema(meta, source)
                _check_signature(source)
            except (sqlite3.Error, ValueError, OSError) as error:
                raise InputError(f"{source}: not a concept store ({error}); make one with `saelex label`") from error
            if fingerprint is not None and meta["fingerprint"] != fingerprint:
                raise MismatchError(f"{source}: the labels are of another encoder; make them again with `saelex label`")
            store = cls(source, connection, meta["fingerprint"])
            on_failure.pop_all()
        return store

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> ConceptStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return int(self._execute("SELECT count(*) FROM concept")[0][0])

    def __iter__(self) -> Iterator[Concept]:
        labels: defaultdict[int, dict[str, str]] = defaultdict(dict)
        for latent, language, label in self._labels():
            labels[latent][language] = label
        published = self._published()
        for row in self._execute(f"SELECT {_COLUMNS} FROM concept ORDER BY latent"):
            yield _concept(*row, labels.get(row[0], {}), published.get(row[0]))

    def __getitem__(self, latent: int) -> Concept:
        """The concept of a latent. Raises KeyError when the corpus showed nothing of it."""
        rows = self._execute(f"SELECT {_COLUMNS} FROM concept WHERE latent = ?", (latent,))
        if not rows:
            raise KeyError(latent)
        labels = {language: label for _, language, label in self._labels(latent)}
        return _concept(*rows[0], labels, self._published(latent).get(latent))

    def get(self, latent: int) -> Concept | None:
        """The concept of a latent; None where the corpus showed nothing of it."""
        try:
            return self[latent]
        except KeyError:
            return None

    def given(self) -> dict[int, Concept]:
        """The concepts that a user has named or that something is published of, by latent."""
        return {concept.latent: concept for concept in self if concept.source == "user" or concept.published}

    def label(self, latent: int, language: str | None = None) -> str:
        """The latent's label for a reader of a language, or "latent 4711" where there is none.

        A user's, in that language if there is one; else the corpus's in it, but for English; else what is published;
        else the corpus's.
        """
        rows = self._execute("SELECT label, source FROM concept WHERE latent = ?", (latent,))
        if not rows:
            return f"latent {latent}"
        label, source = rows[0]
        if language in self.languages:
            own = self._execute("SELECT label FROM label WHERE latent = ? AND language = ?", (latent, language))
            label = own[0][0] if own else label
            if own and language != _PUBLISHED_IN:
                return str(label)
        published = None if source == "user" else self._published(latent).get(latent)
        return str(label) if published is None else published.text

    def language_of(self, text: str) -> str | None:
        """The language of the labels for whoever wrote a text: what it tells; None where it, or no label, tells any."""
        return told_language(text) if self.languages else None

    def examples(self, latent: int) -> tuple[Example, ...]:
        """Passages in which the latent fired strongly; none where the corpus showed nothing of it."""
        rows = self._execute("SELECT examples FROM concept WHERE latent = ?", (latent,))
        return tuple(Example(*example) for example in json.loads(rows[0][0])) if rows else ()

    def find(self, text: str, limit: int = 10) -> list[int]:
        """Latents whose label or evidence has any of the text's words, best first; the label counts five times."""
        return self._match(" OR ".join(_quoted(text)), limit)

    def led_by(self, text: str, limit: int = 10) -> list[int]:
        """Latents with a label in which a word begins with this text, as somebody types it: in any case of letters.

        Labels that begin with it come first, then those that fire more often.
        """
        start = " ".join(text.split()).casefold()
        density = dict(self._execute("SELECT latent, density FROM concept"))
        found: dict[int, bool] = {}
        for latent, label in self._all_labels if start else ():
            if (at := label.find(start)) >= 0 and (at == 0 or re.search(rf"\b{re.escape(start)}", label)):
                found[latent] = found.get(latent, False) or at == 0
        return sorted(found, key=lambda latent: (not found[latent], -density[latent], latent))[:limit]

    def resolve(self, name: str) -> list[int]:
        """The latents a user means by a label in whatever language or by words of it, in any case.

        A whole label means the latents that carry it, else the first word of labels those that it leads, else any words
        every latent whose label has all of them. Raises InputError, with the nearest labels, when there is none or when
        there are more than eight.
        """
        folded = name.strip().casefold()
        latents = self._labelled(folded, whole=True) or self._labelled(folded, whole=False)
        if not latents and (words := _quoted(name)):
            latents = self._match("label : (" + " AND ".join(words) + ")", _MOST_COUNTED)
        if len(latents) > MOST_MEANT:
            count = f"{len(latents)}" if len(latents) < _MOST_COUNTED else f"{_MOST_COUNTED} or more"
            raise InputError(
                f"{name!r} fits {count} concepts, which is too many to steer; name one by its id or whole label: "
                f"{self.listed(latents[:MOST_MEANT])}, ..."
            )
        if not latents:
            nearest = self.find(name, limit=5) or self._similar(name)
            hint = f"; nearest: {self.listed(nearest)}" if nearest else "; see `saelex label`"
            raise InputError(f"no concept is labelled {name!r}{hint}")
        return latents

    def _execute(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        if self._process != os.getpid():  # a connection is not to be used after a fork
            self._connection, self._process = _connect(self._path), os.getpid()
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.ProgrammingError as error:  # of a hit that outlived its index, say
            raise SaelexError("the labels are closed; open the index and search again") from error
        except sqlite3.Error as error:
            raise _damaged(self._path, str(error)) from error

    def _labelled(self, folded: str, *, whole: bool) -> list[int]:
        """Latents of this label, as it is shown or without its mark, or of one that these words lead; in any case."""
        start = folded + SEPARATOR
        mark = CONTEXT_MARK.casefold()
        found = (
            latent
            for latent, label in self._all_labels
            if (folded in (label, label.removesuffix(mark)) if whole else label.startswith(start))
        )
        return list(dict.fromkeys(found))

    @cached_property
    def _all_labels(self) -> list[tuple[int, str]]:
        """Every label of every latent, in whatever language and published, folded: read once, for they never change."""
        rows = self._execute("SELECT latent, label FROM concept ORDER BY latent")
        rows += [(latent, label) for latent, _, label in self._labels()]
        rows += [(latent, published.text) for latent, published in self._published().items()]
        return [(latent, label.casefold()) for latent, label in rows]

    def _labels(self, latent: int | None = None) -> list[tuple[int, str, str]]:
        """(latent, language, label) of one latent, or of all."""
        if not self.languages:
            return []
        which, values = ("", ()) if latent is None else ("WHERE latent = ?", (latent,))
        return self._execute(f"SELECT latent, language, label FROM label {which} ORDER BY 1, 2", values)

    def _published(self, latent: int | None = None) -> dict[int, Published]:
        """What is published of one latent, or of all."""
        if not self._has_published:
            return {}
        which, values = ("", ()) if latent is None else ("WHERE latent = ?", (latent,))
        rows = self._execute(f"SELECT latent, text, author, source FROM published {which} ORDER BY 1", values)
        return {number: Published(*told) for number, *told in rows}

    def _match(self, expression: str, limit: int) -> list[int]:
        if not expression:
            return []
        ranked = self._execute(
            "SELECT rowid FROM concept_text WHERE concept_text MATCH ? "
            "ORDER BY bm25(concept_text, 5, 1), rowid LIMIT ?",
            (expression, limit),
        )
        return [latent for (latent,) in ranked]

    def _similar(self, name: str) -> list[int]:
        """Latents with a word in their label that is spelt much like the name: for typing errors."""
        latents: dict[str, int] = {}
        for latent, label in self._execute("SELECT latent, label FROM concept ORDER BY density DESC"):
            for word in label.removesuffix(CONTEXT_MARK).split(SEPARATOR):
                latents.setdefault(word, latent)
        return [latents[word] for word in difflib.get_close_matches(name.lower(), latents, n=5, cutoff=0.7)]

    def listed(self, latents: Sequence[int]) -> str:
        """Some latents with their labels, to choose from: "#4711 (wing), #815 (lift)"."""
        return ", ".join(f"#{latent} ({self.label(latent)})" for latent in latents)


def _connect(path: Path) -> sqlite3.Connection:
    # immutable: a store is never changed in place, so readers need no locks
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)


def _check_schema(meta: dict[str, str], source: Path) -> None:
    if meta.get("schema_version") != str(SCHEMA_VERSION):
        raise InputError(
            f"{source}: concepts of schema {meta.get('schema_version')}, this version reads {SCHEMA_VERSION}; "
            "make them again with `saelex label`"
        )
    if not isinstance(meta.get("fingerprint"), str):
        raise InputError(f"{source}: names no encoder; make them again with `saelex label`")


def _sign(path: Path) -> None:
    """Put the file's checksum where SQLite's header has room for a number of the application's."""
    checksum = _checksum(path)
    with path.open("r+b") as file:
        file.seek(_SIGNATURE.start)
        file.write(checksum)


def _check_signature(path: Path) -> None:
    """Raises CorruptIndexError unless the file is to the last bit as it was written."""
    with path.open("rb") as file:
        signature = file.read(_SIGNATURE.stop)[_SIGNATURE]
    if signature != _checksum(path):
        raise _damaged(path, "checksum")


def _checksum(path: Path) -> bytes:
    """crc32 of the file, taking the place that it is kept at for zeros: about 1 GB/s."""
    with path.open("rb") as file:
        header = bytearray(file.read(_SIGNATURE.stop))
        header[_SIGNATURE] = bytes(4)
        value = zlib.crc32(header)
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
    return value.to_bytes(4, "big")


def _damaged(path: Path, reason: str) -> CorruptIndexError:
    return CorruptIndexError(f"{path}: damaged ({reason}); make the labels again with `saelex label`")


def _insert(connection: sqlite3.Connection, concept: Concept) -> None:
    evidence = json.dumps(concept.evidence, ensure_ascii=False)
    examples = json.dumps(concept.examples, ensure_ascii=False)
    row = (concept.latent, concept.label, evidence, examples, concept.density, concept.mean_weight, concept.source)
    connection.execute(f"INSERT INTO concept ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    words = " ".join(evidence.word for evidence in concept.evidence)
    published = concept.published
    labels = " ".join([concept.label, *concept.labels.values(), *([published.text] if published else [])])
    connection.execute(
        "INSERT INTO concept_text (rowid, label, evidence) VALUES (?, ?, ?)", (concept.latent, labels, words)
    )
    if concept.labels:
        connection.execute(_LANGUAGES)
        own = [(concept.latent, language, label) for language, label in concept.labels.items()]
        connection.executemany("INSERT INTO label VALUES (?, ?, ?)", own)
    if published:
        connection.execute(_PUBLISHED)
        connection.execute("INSERT INTO published VALUES (?, ?, ?, ?)", (concept.latent, *published))


def _concept(latent: int, label: str, evidence: str, examples: str, *others: Any) -> Concept:
    words = tuple(Evidence(*pair) for pair in json.loads(evidence))
    return Concept(latent, label, words, tuple(Example(*row) for row in json.loads(examples)), *others)


def _quoted(text: str) -> list[str]:
    """The text's words as FTS5 strings, so that nothing in them is syntax."""
    return [f'"{word}"' for word in re.findall(r"\w+", text)]
