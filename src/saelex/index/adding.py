"""Documents into an index: read in batches, split, encoded, and committed batch by batch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tqdm import tqdm

from saelex.corpus.documents import Document
from saelex.corpus.records import as_document
from saelex.errors import InputError, SaelexError
from saelex.index.disk.catalog import StoredDocument, Transaction
from saelex.index.disk.storage import NewRows, Storage
from saelex.index.passage_vectors import PassageVectors, Prepared
from saelex.index.word_state import WordState

if TYPE_CHECKING:
    from typing_extensions import Never

BATCH_PASSAGES = 10_000
"""Passages of one commit: what a crash can cost, and what is held in memory."""

STATISTICS_DOCUMENTS = 20_000
"""Documents of the first add on which the word statistics are counted."""

_LOOKED_UP = 1000  # documents whose ids are looked up together


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
    replace: take the place of those with the same id.
    """

    storage: Storage
    words: WordState | None
    vectors: PassageVectors
    resume: bool = False
    replace: bool = False
    progress: bool = False
    added: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)
    replaced: int = field(default=0, init=False)

    def run(self, documents: Iterable[Document | Mapping[str, Any]]) -> AddReport:
        """Add them all. What was committed before an error stays; the error's message says how much."""
        total = len(documents) if isinstance(documents, Sized) else None
        with tqdm(total=total, unit=" documents", disable=not self.progress) as bar:
            try:
                prepared = self._prepared(documents, bar)
                if self.words is not None and not self.words.fitted:
                    prepared = self._fitted(prepared, self.words)
                for batch in _batches(prepared):
                    self._check_unique(batch)
                    self._commit(batch, bar)
                    self.storage.merge_small()
            except BaseException as error:
                if self.words is not None:
                    self.words.take_back()
                if isinstance(error, SaelexError) and self.added:
                    stay = f"the {self.added} documents before it are in the index; resume when it is mended"
                    raise type(error)(f"{error} ({stay})") from error
                raise
        self.vectors.finish(self.added + self.skipped)
        return AddReport(self.added, self.skipped, self.replaced)

    def _prepared(self, documents: Iterable[Document | Mapping[str, Any]], bar: tqdm[Never]) -> Iterator[Prepared]:
        """The documents that are to be added, checked against the index and split into passages."""
        stream = enumerate(map(as_document, documents))
        while chunk := list(islice(stream, _LOOKED_UP)):
            digests = [_digest(document) for _, document in chunk]
            known = self.storage.catalog.find([document.id for _, document in chunk])
            for (place, document), digest in zip(chunk, digests):
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

    def _fitted(self, prepared: Iterator[Prepared], words: WordState) -> Iterator[Prepared]:
        """The same documents, after the word statistics were counted on the first of them."""
        first = list(islice(prepared, STATISTICS_DOCUMENTS))
        if first:
            words.fit(text for one in first for text in one.texts)
        return chain(first, prepared)

    def _check_unique(self, batch: Sequence[Prepared]) -> None:
        """Raises InputError for an id that an earlier batch of this call has brought since the id was looked up."""
        known = self.storage.catalog.find([one.document.id for one in batch])
        for one in batch:
            if known.get(one.document.id, (None, None))[0] != one.replaces:
                raise InputError(f"document id {one.document.id!r} comes twice; ids must be unique")

    def _commit(self, batch: Sequence[Prepared], bar: tqdm[Never]) -> None:
        counts = [len(one.passages) for one in batch]
        start = int(self.storage.catalog.settings()["next_passage"])
        numbers = start + np.cumsum([0, *counts])
        stored = [
            StoredDocument(number, one.document, one.passages, one.digest)
            for number, one in zip(numbers[:-1].tolist(), batch)
        ]
        vectors = self.vectors.of(batch, bar.update)
        if self.words is not None:
            vectors = vectors.beside(self.words.document([text for one in batch for text in one.texts]))
        passages = np.arange(start, numbers[-1], dtype=np.int64)
        rows = NewRows(vectors, passages, np.repeat(numbers[:-1], counts).astype(np.int64))

        def fill(transaction: Transaction) -> None:
            transaction.add_documents(stored, int(numbers[-1]))
            if self.words is not None:
                self.words.store(transaction)

        replaced = [one.replaces for one in batch if one.replaces is not None]
        self.storage.commit(rows, fill, deleted=replaced)
        if self.words is not None:
            self.words.committed()
        self.vectors.committed(start)
        self.added += len(batch)
        self.replaced += len(replaced)


def _batches(prepared: Iterator[Prepared]) -> Iterator[list[Prepared]]:
    """Batches of about BATCH_PASSAGES. Raises InputError for an id that comes twice in one."""
    batch: list[Prepared] = []
    ids: set[str] = set()
    n_passages = 0
    for one in prepared:
        if one.document.id in ids:
            raise InputError(f"document id {one.document.id!r} comes twice; ids must be unique")
        ids.add(one.document.id)
        batch.append(one)
        n_passages += len(one.passages)
        if n_passages >= BATCH_PASSAGES:
            yield batch
            batch, n_passages = [], 0
            ids.clear()
    if batch:
        yield batch


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
