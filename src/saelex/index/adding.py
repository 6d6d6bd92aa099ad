"""Documents into an index: read in batches, split, encoded, and committed batch by batch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from saelex.corpus.documents import Document
from saelex.errors import InputError, SaelexError
from saelex.index.catalog import StoredDocument, Transaction
from saelex.index.passages import Passage, Splitter
from saelex.index.storage import NewRows, Storage
from saelex.index.text_encoder import TextEncoder
from saelex.index.word_state import WordState
from saelex.vectors import SparseRows

if TYPE_CHECKING:
    from typing_extensions import Never

BATCH_PASSAGES = 10_000
"""Passages of one commit: what a crash can cost, and what is held in memory."""

STATISTICS_DOCUMENTS = 20_000
"""Documents of the first add on which the word statistics are counted."""

_LOOKED_UP = 1000  # documents whose ids are looked up together
_ENCODED = 1024  # passages encoded together, between two steps of the progress bar


class AddReport(NamedTuple):
    """What an `add` or `update` did with the documents it was given."""

    added: int
    skipped: int
    """There already, with the same content (`resume`)."""
    replaced: int


class _Prepared(NamedTuple):
    document: Document
    passages: list[Passage]
    digest: bytes
    replaces: int | None  # number of the document that it takes the place of

    @property
    def texts(self) -> list[str]:
        content = self.document.content
        return [content[passage.start : passage.end] for passage in self.passages]


@dataclass
class Adder:
    """One call of `add` or `update`, inside `storage.writing()`.

    resume: skip documents that are there with the same content. replace: take the place of those with the same id.
    """

    storage: Storage
    encoder: TextEncoder
    words: WordState | None
    split: Splitter
    resume: bool = False
    replace: bool = False
    progress: bool = False
    added: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)
    replaced: int = field(default=0, init=False)

    def run(self, documents: Iterable[Document]) -> AddReport:
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
        return AddReport(self.added, self.skipped, self.replaced)

    def _prepared(self, documents: Iterable[Document], bar: tqdm[Never]) -> Iterator[_Prepared]:
        """The documents that are to be added, checked against the index and split into passages."""
        stream = iter(documents)
        while chunk := list(islice(stream, _LOOKED_UP)):
            digests = list(map(_digest, chunk))
            known = self.storage.catalog.find([document.id for document in chunk])
            for document, digest in zip(chunk, digests):
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
                yield _Prepared(document, self.split(content), digest, number)

    def _fitted(self, prepared: Iterator[_Prepared], words: WordState) -> Iterator[_Prepared]:
        """The same documents, after the word statistics were counted on the first of them."""
        first = list(islice(prepared, STATISTICS_DOCUMENTS))
        if first:
            words.fit(text for one in first for text in one.texts)
        return chain(first, prepared)

    def _check_unique(self, batch: Sequence[_Prepared]) -> None:
        """Raises InputError for an id that an earlier batch of this call has brought since the id was looked up."""
        known = self.storage.catalog.find([one.document.id for one in batch])
        for one in batch:
            if known.get(one.document.id, (None, None))[0] != one.replaces:
                raise InputError(f"document id {one.document.id!r} comes twice; ids must be unique")

    def _commit(self, batch: Sequence[_Prepared], bar: tqdm[Never]) -> None:
        counts = [len(one.passages) for one in batch]
        start = int(self.storage.catalog.settings()["next_passage"])
        numbers = start + np.cumsum([0, *counts])
        stored = [
            StoredDocument(number, one.document, one.passages, one.digest)
            for number, one in zip(numbers[:-1].tolist(), batch)
        ]
        vectors = self._encode([text for one in batch for text in one.texts], np.cumsum(counts), bar)
        passages = np.arange(start, numbers[-1], dtype=np.int64)
        rows = NewRows(vectors, passages, np.repeat(numbers[:-1], counts).astype(np.int64))

        def fill(transaction: Transaction) -> None:
            transaction.add_documents(stored, int(numbers[-1]))
            if self.words is not None:
                self.words.store(transaction)

        replaced = [one.replaces for one in batch if one.replaces is not None]
        self.storage.commit(rows, fill, replaced)
        if self.words is not None:
            self.words.committed()
        self.added += len(batch)
        self.replaced += len(replaced)

    def _encode(self, texts: list[str], ends: NDArray[np.int64], bar: tqdm[Never]) -> SparseRows:
        """Vectors of the passages; the bar moves on with every document whose last passage is done."""
        parts: list[SparseRows] = []
        for first in range(0, len(texts), _ENCODED):
            part = texts[first : first + _ENCODED]
            parts.append(self.encoder.encode_document(part))
            done = np.searchsorted(ends, [first, first + len(part)], side="right")
            bar.update(int(done[1] - done[0]))
        latents = SparseRows.concatenate(parts)
        return latents if self.words is None else latents.beside(self.words.document(texts))


def _batches(prepared: Iterator[_Prepared]) -> Iterator[list[_Prepared]]:
    """Batches of about BATCH_PASSAGES. Raises InputError for an id that comes twice in one."""
    batch: list[_Prepared] = []
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
