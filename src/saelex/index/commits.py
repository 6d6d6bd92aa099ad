"""One commit of an index of documents: passages come and go, and the words stored are those of what is there then."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from saelex.errors import SaelexError
from saelex.index.disk.catalog import Transaction
from saelex.index.disk.segments import Segment
from saelex.index.disk.storage import NewRows, SegmentRows, Storage
from saelex.index.quantise import Quantiser
from saelex.index.stored import passage_texts
from saelex.index.word_state import WordState
from saelex.vectors import SparseRows

logger = logging.getLogger(__name__)


def commit(
    storage: Storage,
    words: WordState | None,
    new: NewRows | None = None,
    texts: Sequence[str] = (),
    fill: Callable[[Transaction], None] = lambda transaction: None,
    deleted: Sequence[int] = (),
) -> None:
    """Add rows over the latents with the words of their texts beside them, and delete documents; all or nothing.

    texts: [rows], of the new passages. fill: what else is written. deleted: documents by number. Call inside
    `storage.writing()`. Where the commit moves the mean length of passages by a step, the words of all segments are
    weighed anew in the same transaction.
    """
    if words is None:
        storage.commit(new, fill, deleted=deleted)
        return

    def fill_words(transaction: Transaction) -> None:
        fill(transaction)
        words.store(transaction)

    def reweighed(segment: Segment) -> SegmentRows:
        return _reweighed(storage, words, segment, deleted)

    try:
        vectors = words.change(texts, _texts_of_documents(storage, deleted))
        if new is not None:
            new = new._replace(vectors=new.vectors.beside(vectors))
        if words.reweighs:
            logger.info("%s: the mean length of passages has moved; words are weighed anew", storage.folder)
        storage.commit(new, fill_words, deleted=deleted, remake=reweighed if words.reweighs else None)
    except BaseException:
        words.take_back()
        with suppress(OSError, SaelexError):  # what came after the commit leaves it standing
            words.catch_up()
        raise
    words.committed()


def _texts_of_documents(storage: Storage, documents: Sequence[int]) -> list[str]:
    """All passages of these documents, which are still in the catalogue."""
    numbers, owners = storage.snapshot.passages, storage.snapshot.documents
    rows = np.flatnonzero(np.isin(owners, documents)) if len(documents) else np.zeros(0, np.int64)
    return passage_texts(storage.catalog, numbers[rows], owners[rows])


def _reweighed(storage: Storage, words: WordState, segment: Segment, deleted: Sequence[int]) -> SegmentRows:
    """The live rows of a segment, their latents as they are and their words as the commit under way weighs them."""
    live = np.flatnonzero(~np.isin(segment.documents, np.append(storage.snapshot.tombstones, deleted)))
    passages, documents = segment.passages[live], segment.documents[live]
    n_latents = int(storage.settings["n_latents"])
    stored = segment.rows_of(live, 1.0)  # integers, as numbers
    latents = replace(stored.keep(stored.latents < n_latents), n_latents=n_latents)
    weighed = words.document(passage_texts(storage.catalog, passages, documents))
    integers = storage.quantiser.documents(weighed)
    weights = integers.weights.astype(np.float32)
    rows = latents.beside(SparseRows(integers.indptr, integers.latents, weights, weighed.n_latents))
    return SegmentRows(Quantiser(1.0, storage.quantiser.bits).documents(rows), rows.n_latents, passages, documents)
