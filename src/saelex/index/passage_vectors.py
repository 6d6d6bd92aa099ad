"""Where the vectors of new passages come from: an encoder, or somebody who has them already."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from saelex.corpus.documents import Document
from saelex.errors import InputError
from saelex.index.disk.storage import Storage
from saelex.index.passages import Passage, Splitter
from saelex.index.stored import vectors_of_passages
from saelex.index.text_encoder import TextEncoder
from saelex.vectors import SparseRows


class Prepared(NamedTuple):
    """A document that is to be added. place: its number among the documents given, from 0."""

    place: int
    document: Document
    passages: Sequence[Passage]
    digest: bytes
    replaces: int | None
    """Number of the document that it takes the place of."""

    @property
    def texts(self) -> list[str]:
        content = self.document.content
        return [content[start:end] for start, end in self.passages]


class PassageVectors(Protocol):
    """What adding documents asks for: `split` each, `of` some after others, `committed` once those are stored."""

    def split(self, place: int, document: Document) -> Sequence[Passage]:
        """The document's passages. Raises InputError where there can be none."""

    def of(self, documents: Sequence[Prepared]) -> SparseRows:
        """Vectors of the documents' passages over the latents, [passages, latents]."""

    def committed(self, first: int) -> None:
        """All passages since the last call are stored, numbered from `first` on."""

    def finish(self, documents: int) -> None:
        """So many documents were given in all. Raises InputError where vectors are left over."""


class EncodedPassages:
    """Passages as an encoder splits and encodes them, each different text once in a whole `add`.

    Matrix products of other shapes add up in another order, so a text encoded twice may get other last bits, and copies
    would be ranked by chance. A copy of a text that is not stored yet takes the same row; a copy of a stored one takes
    what was stored for that. Remembered are 24 bytes a passage.
    """

    def __init__(self, encoder: TextEncoder, split: Splitter, storage: Storage) -> None:
        self._encoder = encoder
        self._split = split
        self._storage = storage
        self._digests = np.zeros(0, "S16")  # [texts stored by this `add`], ascending
        self._numbers = np.zeros(0, np.int64)  # the passage that holds each of them
        self._waiting: dict[bytes, int] = {}  # texts not stored yet: the passage that has each, counted from the first
        self._rows: list[SparseRows] = []  # of those passages

    def split(self, place: int, document: Document) -> Sequence[Passage]:
        """As the encoder reads them."""
        return self._split(document.content)

    def of(self, documents: Sequence[Prepared]) -> SparseRows:
        """Encoded, or of a text that was there before, as it is there."""
        texts = [text for one in documents for text in one.texts]
        order: dict[bytes, int] = {}
        which = np.array([order.setdefault(_digest(text), len(order)) for text in texts])  # [passages] of the different
        firsts = np.unique(which, return_index=True)[1]  # [different texts], the passage that has it first
        waiting = np.array([self._waiting.get(digest, -1) for digest in order])  # [different texts]
        stored = self._stored(np.array(list(order), "S16"))  # [different texts], the passage in the index, or -1
        stored[waiting >= 0] = -1
        fresh = np.flatnonzero((waiting < 0) & (stored < 0))
        parts = [self._encoder.encode_document([texts[i] for i in firsts[fresh]])] if len(fresh) else []
        again = np.flatnonzero(waiting >= 0)
        if len(again):
            parts.append(SparseRows.concatenate(self._rows)[waiting[again]])
        copies = np.flatnonzero(stored >= 0)
        copies = copies[np.argsort(stored[copies])]
        if len(copies):
            parts.append(self._read_back(stored[copies]))
        place = np.empty(len(order), np.int64)  # [different texts], the row of each
        place[np.concatenate([fresh, again, copies])] = np.arange(len(order))
        rows = SparseRows.concatenate(parts)[place[which]]
        before = sum(map(len, self._rows))
        digests = list(order)
        self._waiting.update((digests[i], before + int(firsts[i])) for i in fresh.tolist())
        self._rows.append(rows)
        return rows

    def _stored(self, digests: NDArray[np.bytes_]) -> NDArray[np.int64]:
        places = np.searchsorted(self._digests, digests)
        known = np.full(len(digests), -1, np.int64)
        inside = np.flatnonzero(places < len(self._digests))
        same = inside[self._digests[places[inside]] == digests[inside]]
        known[same] = self._numbers[places[same]]
        # what an `update` has replaced since may have been merged away
        known[~np.isin(known, self._storage.snapshot.passages)] = -1
        return known

    def _read_back(self, numbers: NDArray[np.int64]) -> SparseRows:
        rows = vectors_of_passages(self._storage.snapshot, self._storage.quantiser.step, numbers)
        n_latents = self._encoder.n_latents
        return replace(rows.keep(rows.latents < n_latents), n_latents=n_latents)  # words follow the latents

    def committed(self, first: int) -> None:
        """Remember where the texts are stored that were encoded for it."""
        digests = np.array(list(self._waiting), "S16")
        passages = np.array(list(self._waiting.values()), np.int64)
        order = np.argsort(digests)
        places = np.searchsorted(self._digests, digests[order])
        self._digests = np.insert(self._digests, places, digests[order])
        self._numbers = np.insert(self._numbers, places, first + passages[order])
        self._waiting.clear()
        self._rows.clear()

    def finish(self, documents: int) -> None:
        """Nothing can be left over."""


class GivenPassages:
    """Vectors made elsewhere: one row a document, or one for each of the passages named.

    rows: [passages, latents], in the order of the documents. passages: those of each document; None: it is one whole.
    """

    def __init__(self, rows: SparseRows, passages: Sequence[Sequence[tuple[int, int]]] | None) -> None:
        self._rows = rows
        self._passages = passages
        counts = (
            np.ones(len(rows), np.int64) if passages is None else np.array([len(some) for some in passages], np.int64)
        )
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)  # [documents + 1]
        if self._starts[-1] != len(rows):
            raise InputError(f"{len(rows)} vectors for {self._starts[-1]} passages; give one for each")

    @property
    def n_documents(self) -> int:
        """How many documents the vectors are of."""
        return len(self._starts) - 1

    def split(self, place: int, document: Document) -> Sequence[Passage]:
        """The passages named, or the whole document."""
        if place >= self.n_documents:
            raise InputError(
                f"document {document.id!r} has no vector: there are vectors of {self.n_documents} documents"
            )
        length = len(document.content)
        if self._passages is None:
            return [Passage(0, length)]
        passages = [Passage(*borders) for borders in self._passages[place]]
        if not passages or not all(0 <= start < end <= length for start, end in passages):
            raise InputError(
                f"document {document.id!r}: its passages are not parts of its {length} characters: {passages}"
            )
        return passages

    def of(self, documents: Sequence[Prepared]) -> SparseRows:
        """The documents' rows."""
        return self._rows[np.concatenate([np.arange(*self._starts[one.place : one.place + 2]) for one in documents])]

    def committed(self, first: int) -> None:
        """Nothing to remember."""

    def finish(self, documents: int) -> None:
        """Raises InputError where there were fewer documents than vectors."""
        if documents < self.n_documents:
            raise InputError(
                f"vectors of {self.n_documents} documents for {documents}; those {documents} are in the index"
            )


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
