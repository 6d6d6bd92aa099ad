"""ConceptStore: labels, evidence and examples of an index's latents, in one SQLite file beside it."""

from __future__ import annotations

import contextlib
import difflib
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from saelex.concepts.concept import SEPARATOR, Concept, Evidence, Example
from saelex.errors import InputError, MismatchError, SaelexError
from saelex.files import expanded, replacing
from saelex.reading.json_object import JsonObject, parse_json, settings_from
from saelex.reading.regular import regular_file

Row = TypeVar("Row", Evidence, Example)

FILE_NAME = "concepts.sqlite"
SCHEMA_VERSION = 1
MOST_MEANT = 8
"""A name that fits more latents than this means too much to steer by."""

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE concept (
    latent INTEGER PRIMARY KEY, label TEXT NOT NULL, evidence TEXT NOT NULL, examples TEXT NOT NULL,
    density REAL NOT NULL, mean_weight REAL NOT NULL
);
CREATE VIRTUAL TABLE concept_text USING fts5(label, evidence, tokenize = 'porter unicode61');
"""
_COLUMNS = "latent, label, evidence, examples, density, mean_weight"


class ConceptStore:
    """What the latents of one encoder mean, as one corpus shows it. Opened for reading; `write` makes a new one.

    fingerprint: of the encoder whose latents these are.
    """

    def __init__(self, connection: sqlite3.Connection, fingerprint: str) -> None:
        self._connection = connection
        self.fingerprint = fingerprint

    @classmethod
    def write(cls, path: str | Path, concepts: Iterable[Concept], *, fingerprint: str) -> ConceptStore:
        """Write all concepts to a new file, which takes the place of an old one only when it is whole; then open it.

        Raises InputError when two concepts name the same latent, SaelexError when the file cannot be written.
        """
        target = expanded(path)
        try:
            with (
                replacing(target) as temporary,
                contextlib.closing(sqlite3.connect(temporary)) as connection,
                connection,
            ):
                connection.executescript(_SCHEMA)
                settings = {"schema_version": str(SCHEMA_VERSION), "fingerprint": fingerprint}
                connection.executemany("INSERT INTO meta VALUES (?, ?)", settings.items())
                for concept in concepts:
                    _insert(connection, concept)
        except sqlite3.IntegrityError as error:
            raise InputError(f"concepts: a latent is there twice ({error}); give one concept for each") from error
        except (sqlite3.OperationalError, OSError) as error:  # a full disk, missing rights
            raise SaelexError(f"{target}: cannot be written ({error}); what was there is unchanged") from error
        return cls.open(target, fingerprint=fingerprint)

    @classmethod
    def open(cls, path: str | Path, *, fingerprint: str | None = None) -> ConceptStore:
        """Open a store, checking that it belongs to the encoder with this fingerprint (None: any).

        Raises InputError for a file that is missing or not a concept store, MismatchError for another encoder's.
        """
        source = regular_file(expanded(path))
        # immutable: a store is never changed in place, so readers need no locks
        uri = f"{source.resolve().as_uri()}?mode=ro&immutable=1"
        with contextlib.ExitStack() as on_failure:
            try:
                connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
                on_failure.callback(connection.close)
                meta = dict(connection.execute("SELECT key, value FROM meta"))
            except (sqlite3.Error, ValueError) as error:  # ValueError: a row of other than two columns
                raise InputError(f"{source}: not a concept store ({error}); make one with `saelex label`") from error
            store = cls(connection, _check(meta, source, fingerprint))
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
        return int(next(self._execute("SELECT count(*) FROM concept"))[0])

    def __iter__(self) -> Iterator[Concept]:
        for row in self._execute(f"SELECT {_COLUMNS} FROM concept ORDER BY latent"):
            yield _concept(*row)

    def __getitem__(self, latent: int) -> Concept:
        """The concept of a latent. Raises KeyError when the corpus showed nothing of it."""
        row = next(self._execute(f"SELECT {_COLUMNS} FROM concept WHERE latent = ?", (latent,)), None)
        if row is None:
            raise KeyError(latent)
        return _concept(*row)

    def label(self, latent: int) -> str:
        """The latent's label, or "latent 4711" where there is none."""
        row = next(self._execute("SELECT label FROM concept WHERE latent = ?", (latent,)), None)
        return _text(row[0]) if row else f"latent {latent}"

    def examples(self, latent: int) -> tuple[Example, ...]:
        """Passages in which the latent fired strongly; none where the corpus showed nothing of it."""
        row = next(self._execute("SELECT examples FROM concept WHERE latent = ?", (latent,)), None)
        return _rows(Example, row[0]) if row else ()

    def find(self, text: str, limit: int = 10) -> list[int]:
        """Latents whose label or evidence has any of the text's words, best first; the label counts five times."""
        return self._match(" OR ".join(_quoted(text)), limit)

    def resolve(self, name: str) -> list[int]:
        """The latents a user means by a label or by words of it.

        A whole label means the latents that carry it, else the first word of labels those that it leads, else any words
        every latent whose label has all of them. Raises InputError, with the nearest labels, when there is none or when
        there are more than eight.
        """
        lower = name.strip().lower()
        found = self._where("label = ?", lower) or self._where(
            "substr(label, 1, ?) = ?", len(lower + SEPARATOR), lower + SEPARATOR
        )
        if not found and (words := _quoted(name)):
            found = self._match("label : (" + " AND ".join(words) + ")", MOST_MEANT + 1)
        if len(found) > MOST_MEANT:
            raise InputError(f"{name!r} fits more than {MOST_MEANT} concepts; name one by id: {self._listed(found)}")
        if not found:
            nearest = self.find(name, limit=5) or self._similar(name)
            hint = f"; nearest: {self._listed(nearest)}" if nearest else "; see `saelex label`"
            raise InputError(f"no concept is labelled {name!r}{hint}")
        return found

    def _execute(self, sql: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._connection.execute(sql, values)
        except sqlite3.ProgrammingError as error:  # of a hit that outlived its index, say
            raise SaelexError("the labels are closed; open the index and search again") from error
        except (sqlite3.Error, OverflowError) as error:
            raise InputError(f"{FILE_NAME}: damaged ({error}); make it again with `saelex label`") from error

    def _where(self, condition: str, *values: object) -> list[int]:
        rows = self._execute(
            f"SELECT latent FROM concept WHERE {condition} ORDER BY latent LIMIT {MOST_MEANT + 1}", values
        )
        return [latent for (latent,) in rows]

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
            for word in _text(label).split(SEPARATOR):
                latents.setdefault(word, latent)
        return [latents[word] for word in difflib.get_close_matches(name.lower(), latents, n=5, cutoff=0.7)]

    def _listed(self, latents: list[int]) -> str:
        return ", ".join(f"{latent} ({self.label(latent)})" for latent in latents)


def _check(meta: dict[str, str], source: Path, fingerprint: str | None) -> str:
    """The store's fingerprint, when this version reads it and it is the one wanted."""
    if meta.get("schema_version") != str(SCHEMA_VERSION):
        raise InputError(
            f"{source}: concepts of schema {meta.get('schema_version')}, this version reads {SCHEMA_VERSION}; "
            "make them again with `saelex label`"
        )
    if not isinstance(meta.get("fingerprint"), str):
        raise InputError(f"{source}: names no encoder; make it again with `saelex label`")
    if fingerprint is not None and meta["fingerprint"] != fingerprint:
        raise MismatchError(f"{source}: the labels are of another encoder; make them again with `saelex label`")
    return meta["fingerprint"]


def _insert(connection: sqlite3.Connection, concept: Concept) -> None:
    evidence = json.dumps(concept.evidence, ensure_ascii=False)
    examples = json.dumps(concept.examples, ensure_ascii=False)
    row = (concept.latent, concept.label, evidence, examples, concept.density, concept.mean_weight)
    connection.execute(f"INSERT INTO concept ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", row)
    words = " ".join(evidence.word for evidence in concept.evidence)
    connection.execute(
        "INSERT INTO concept_text (rowid, label, evidence) VALUES (?, ?, ?)", (concept.latent, concept.label, words)
    )


def _concept(latent: int, label: Any, evidence: Any, examples: Any, density: Any, mean_weight: Any) -> Concept:
    if not all(isinstance(value, float) for value in (density, mean_weight)):
        raise InputError(f"{FILE_NAME}: concept {latent} is damaged; make it again with `saelex label`")
    return Concept(latent, _text(label), _rows(Evidence, evidence), _rows(Example, examples), density, mean_weight)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(
            f"{FILE_NAME}: a damaged concept, {value!r:.60} in place of a text; `saelex label` makes it again"
        )
    return value


def _rows(kind: type[Row], text: Any) -> tuple[Row, ...]:
    """The named tuples that a column holds as JSON lists, each value of its type."""
    lists = parse_json(_text(text), FILE_NAME)
    names = kind._fields
    if not isinstance(lists, list) or not all(isinstance(row, list) and len(row) == len(names) for row in lists):
        raise InputError(f"{FILE_NAME}: a damaged concept; make them again with `saelex label`")
    return tuple(settings_from(kind, JsonObject(dict(zip(names, row)), FILE_NAME)) for row in lists)


def _quoted(text: str) -> list[str]:
    """The text's words as FTS5 strings, so that nothing in them is syntax."""
    return [f'"{word}"' for word in re.findall(r"\w+", text)]
