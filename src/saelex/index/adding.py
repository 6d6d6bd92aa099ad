"""Documents into an index: read, split, encoded in parts, and committed when enough of them wait or have waited long.

Whatever ends an `add` (a crash, an interrupt, a source that breaks) costs what was done since the last commit, so one
follows the other within COMMIT_SECONDS. How many passages are encoded together goes by how long the last ones took and
by their length: few enough for that on a slow machine, and where books follow titles; many on a quick one, where
padding would cost.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from inspect import isgenerator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from saelex.corpus.documents import Document
from saelex.corpus.records import as_document
from saelex.errors import InputError, SaelexError
from saelex.index.commits import commit
from saelex.index.disk.catalog import StoredDocument, Transaction
from saelex.index.disk.storage import NewRows, Storage
from saelex.index.fields import MetadataFields
from saelex.index.passage_vectors import PassageVectors, Prepared
from saelex.index.word_state import WordState
from saelex.progress import Progress, progress_bar
from saelex.vectors import SparseRows

BATCH_PASSAGES = 10_000
"""Passages of one commit at most: what is held in memory."""

COMMIT_SECONDS = 30.0
"""From one commit to the next at most, if no single document takes longer: what a crash costs."""

_LOOKED_UP = 1000  # documents whose ids are looked up together
_MOST = 1024  # passages that are encoded together


class AddReport(NamedTuple):
    """What an `add` or `update` did with the documents it was given."""

    added: int
    skipped: int
    """There already, with the same content (`resume`)."""
    replaced: int

    def __str__(self) -> str:
        done = f"{self.added:,} added"
        done += f" ({self.replaced:,} replaced)" if self.replaced else ""
        return done + (f", {self.skipped:,} there already" if self.skipped else "")


class FillReport(NamedTuple):
    """What a `fill` did. labelled: concepts that have a label now; None where none were derived."""

    documents: AddReport
    labelled: int | None

    def __str__(self) -> str:
        return str(self.documents) + ("" if self.labelled is None else f", {self.labelled:,} concepts labelled")


@dataclass
class Adder:
    """One call of `add`, `add_vectors` or `update`, inside `storage.writing()`.

    vectors: where passages and their vectors come from. resume: skip documents that are there with the same content.
    replace: take the place of those with the same id. clock: in seconds; commits go by it.
    """

    storage: Storage
    words: WordState | None
    vectors: PassageVectors
    resume: bool = False
    replace: bool = False
    progress: bool = False
    clock: Callable[[], float] = time.monotonic
    added: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)
    replaced: int = field(default=0, init=False)
    _waiting: list[tuple[list[Prepared], SparseRows]] = field(default_factory=list, init=False)  # for the next commit
    _committed_at: float = field(default=0.0, init=False)
    _together: int = field(default=1, init=False)  # passages that are encoded together
    _pace: float = field(default=0.0, init=False)  # seconds a character of them

    def run(self, documents: Iterable[Document | Mapping[str, Any]]) -> AddReport:
        """Add them all. What was committed before an error stays; the error's message says how much.

        An interrupt from the keyboard commits what is encoded before it goes on its way.
        """
        total = len(documents) if isinstance(documents, Sized) else None
        self._committed_at = self.clock()
        with progress_bar(total=total, unit=" documents", shown=self.progress, clock=self.clock) as bar:
            try:
                for part in self._parts(self._prepared(documents, bar)):
                    took = self._encode(part)
                    bar.update(len(part))
                    # the next part may be twice as large
                    late = self.clock() - self._committed_at + 2 * took >= COMMIT_SECONDS
                    if late or self._n_waiting() >= BATCH_PASSAGES:
                        self._commit()
                self._commit()
            except KeyboardInterrupt as interrupt:
                self._commit()
                raise KeyboardInterrupt(f"{self._stay('go on with resume')}") from interrupt
            except SaelexError as error:
                if not self.added:
                    raise
                raise type(error)(f"{error} ({self._stay('resume when it is mended')})") from error
        self.vectors.finish(self.added + self.skipped)
        return AddReport(self.added, self.skipped, self.replaced)

    def _stay(self, what_to_do: str) -> str:
        before = "the document before it is" if self.added == 1 else f"the {self.added} documents before it are"
        return f"{before} in the index; {what_to_do}"

    def _prepared(self, documents: Iterable[Document | Mapping[str, Any]], bar: Progress) -> Iterator[Prepared]:
        """The documents that are to be added, checked against the index and split into passages."""
        first = 0
        for chunk in self._chunks(map(as_document, documents)):
            digests = list(map(_digest, chunk))
            known = self.storage.catalog.find([document.id for document in chunk])
            for place, (document, digest) in enumerate(zip(chunk, digests), first):
                number, old_digest = known.get(document.id, (None, None))
                if number is not None and self.resume and digest == old_digest:
                    self.skipped += 1
                    bar.update()
                    continue
                if number is not None and not self.replace:
                    other = " with other content" if self.resume else ""
                    raise InputError(f"document id {document.id!r} is in the index already{other}; update or delete it")
                content = document.content
                if not content:
                    raise InputError(f"document {document.id!r} is empty; leave it out or give it a text")
                yield Prepared(place, document, self.vectors.split(place, document), digest, number)
            first += len(chunk)

    def _chunks(self, documents: Iterable[Document]) -> Iterator[list[Document]]:
        """Documents that are looked up together: _LOOKED_UP, or fewer of a source that takes its time."""
        chunk: list[Document] = []
        start = self.clock()
        for document in documents:
            chunk.append(document)
            if len(chunk) >= _LOOKED_UP or self.clock() - start >= COMMIT_SECONDS / 30:
                yield chunk
                chunk, start = [], self.clock()
        if chunk:
            yield chunk

    def _parts(self, prepared: Iterable[Prepared]) -> Iterator[list[Prepared]]:
        """Documents that are encoded together. Raises InputError for an id that comes twice before a commit."""
        part: list[Prepared] = []
        passages, characters, start = 0, 0, self.clock()
        for one in prepared:
            if part and (characters + _length(one)) * self._pace >= COMMIT_SECONDS / 4:
                yield part
                part, passages, characters, start = [], 0, 0, self.clock()
            part.append(one)
            passages += len(one.passages)
            characters += _length(one)
            waiting = self._n_waiting() + passages
            slow = self.clock() - start >= COMMIT_SECONDS / 4
            if passages >= self._together or waiting >= BATCH_PASSAGES or slow:
                yield part
                part, passages, characters, start = [], 0, 0, self.clock()
        if part:
            yield part

    def _encode(self, part: list[Prepared]) -> float:
        """Vectors of these documents, which then wait to be committed. How long it took, in seconds."""
        ids = {one.document.id for documents, _ in self._waiting for one in documents}
        for one in part:
            if one.document.id in ids:
                raise InputError(f"document id {one.document.id!r} comes twice; ids must be unique")
            ids.add(one.document.id)
        start = self.clock()
        rows = self.vectors.of(part)
        took = self.clock() - start
        self._waiting.append((part, rows))
        if took < COMMIT_SECONDS / 15:
            self._together = min(_MOST, 2 * self._together)
        elif took > COMMIT_SECONDS / 4:
            self._together = max(1, self._together // 2)
        # copies, which cost nothing, must not make it forget at once how long a text takes
        self._pace = max(took / sum(map(_length, part)), self._pace / 2)
        return took

    def _n_waiting(self) -> int:
        return sum(len(rows) for _, rows in self._waiting)

    def _commit(self) -> None:
        """What waits, if anything does."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        batch = [one for documents, _ in waiting for one in documents]
        self._check_unique(batch)
        counts = [len(one.passages) for one in batch]
        start = int(self.storage.catalog.settings()["next_passage"])
        numbers = start + np.cumsum([0, *counts])
        stored = [
            StoredDocument(number, one.document, one.passages, one.digest)
            for number, one in zip(numbers[:-1].tolist(), batch)
        ]
        passages = np.arange(start, numbers[-1], dtype=np.int64)
        vectors = SparseRows.concatenate([rows for _, rows in waiting])
        new = NewRows(vectors, passages, np.repeat(numbers[:-1], counts).astype(np.int64))

        known = MetadataFields.read(self.storage.catalog)
        fields = known.after(one.document.metadata for one in batch)

        def fill(transaction: Transaction) -> None:
            transaction.add_documents(stored, int(numbers[-1]))
            if fields != known or not start:
                fields.store(transaction)

        replaced = [one.replaces for one in batch if one.replaces is not None]
        texts = [text for one in batch for text in one.texts]
        commit(self.storage, self.words, new, texts, fill, deleted=replaced)
        self.vectors.committed(start)
        self.added += len(batch)
        self.replaced += len(replaced)
        self.storage.merge_small()
        self._committed_at = self.clock()

    def _check_unique(self, batch: Sequence[Prepared]) -> None:
        """Raises InputError for an id that an earlier commit of this call has brought since the id was looked up."""
        known = self.storage.catalog.find([one.document.id for one in batch])
        for one in batch:
            if known.get(one.document.id, (None, None))[0] != one.replaces:
                raise InputError(f"document id {one.document.id!r} comes twice; ids must be unique")


def check_documents(documents: Any) -> None:
    """Raises InputError for what is no source of documents: a text, a single one, a generator that was read already."""
    if isinstance(documents, (Document, Mapping)):
        raise InputError("documents come in a list, or in anything else that gives one after the other; this is one")
    if isinstance(documents, (str, bytes, Path)):
        raise InputError(f"{documents!r:.60} is no list of documents; `read_corpus` reads them from a file")
    if not isinstance(documents, Iterable):
        raise InputError(f"documents come in a list or another iterable, not in a {type(documents).__name__}")
    if isgenerator(documents) and documents.gi_frame is None:
        raise InputError("these documents were read already: a generator gives them once; make it anew, or give a list")


def _length(document: Prepared) -> int:
    """Characters of its passages."""
    return sum(end - start for start, end in document.passages)


def _digest(document: Document) -> bytes:
    """Of all that is stored of a document. Raises InputError for a bad id and for what cannot be stored."""
    if not isinstance(document.id, str) or not document.id:
        raise InputError(f"a document's id is a string that is not empty, not {document.id!r}")
    fields = [document.title, document.text, dict(document.metadata)]
    try:
        document.id.encode()
        content = json.dumps(fields, ensure_ascii=False, sort_keys=True, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"document {document.id!r}: holds half a surrogate pair, which is no character") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"document {document.id!r}: its metadata are not JSON values ({error})") from error
    return hashlib.blake2b(content, digest_size=16).digest()
