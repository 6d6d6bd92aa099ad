"""What an index holds, read back: passages with their vectors, for labels, statistics, exports and copies of a text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.concepts.labels import Firing
from saelex.errors import CorruptIndexError, InputError
from saelex.index.disk.catalog import Catalog, StoredDocument
from saelex.index.disk.segments import Segment
from saelex.index.disk.snapshot import Snapshot
from saelex.index.disk.storage import Storage
from saelex.index.text_encoder import TextEncoder
from saelex.progress import progress_bar
from saelex.vectors import SparseRows


class StoredRows(NamedTuple):
    """Some passages of an index: ids of their documents, their texts, their vectors as stored, and where they are from.

    owners: the documents, each with its passages. numbers: the passages' own, ascending through the whole index.
    """

    ids: list[str]
    texts: list[str]
    rows: SparseRows
    owners: list[StoredDocument]
    numbers: list[int]


def stored_rows(storage: Storage, chunk: int, sample: int | None) -> Iterator[StoredRows]:
    """All passages of the last commit, in chunks; see `Index.stored`. Raises InputError without forward rows."""
    if not storage.settings["forward"]:
        raise InputError(f"{storage.folder}: keeps no forward rows; create it with forward=True")
    snapshot, step = storage.snapshot, storage.quantiser.step
    drawn: NDArray[np.int64] | None = None
    if sample is not None and sample < snapshot.n_rows:
        drawn = np.sort(np.random.default_rng(0).choice(snapshot.n_rows, sample, replace=False))
    for segment, first_row in zip(snapshot.segments, snapshot.first_rows):
        for first in range(0, segment.n_rows, chunk):
            last = min(first + chunk, segment.n_rows)
            chosen = np.arange(first, last)
            if drawn is not None:
                low, high = np.searchsorted(drawn, [first_row + first, first_row + last])
                chosen = drawn[low:high] - first_row
            if len(chosen):
                yield _with_texts(storage.catalog, snapshot, segment, chosen, step)


def _with_texts(
    catalog: Catalog, snapshot: Snapshot, segment: Segment, chosen: NDArray[np.int64], step: float
) -> StoredRows:
    """Some rows of a segment (ascending); those of deleted documents are left out."""
    passages, owners = segment.passages[chosen], segment.documents[chosen]
    with catalog.reading():
        known = catalog.documents(set(owners.tolist()))
        lost = set(owners.tolist()) - known.keys()
        if lost and not lost <= set(snapshot.tombstones.tolist()) and catalog.generation() == snapshot.generation:
            raise _missing(catalog, lost)
    live = np.array([owner in known for owner in owners.tolist()])  # else it is deleted
    texts = _texts(known, passages[live], owners[live])
    stored = [known[owner] for owner in owners[live].tolist()]
    ids = [one.document.id for one in stored]
    return StoredRows(ids, texts, segment.rows_of(chosen[live], step), stored, passages[live].tolist())


def passage_texts(catalog: Catalog, passages: NDArray[np.int64], documents: NDArray[np.int64]) -> list[str]:
    """The texts of these passages, by their numbers and those of their documents.

    Raises CorruptIndexError for a document that is not in the catalogue.
    """
    numbers = set(documents.tolist())
    known = catalog.documents(numbers)
    if lost := numbers - known.keys():
        raise _missing(catalog, lost)
    return _texts(known, passages, documents)


def _texts(known: Mapping[int, StoredDocument], passages: NDArray[np.int64], documents: NDArray[np.int64]) -> list[str]:
    texts: list[str] = []
    for number, owner in zip(passages.tolist(), documents.tolist()):
        start, end = known[owner].borders(number)
        texts.append(known[owner].document.content[start:end])
    return texts


def _missing(catalog: Catalog, documents: set[int]) -> CorruptIndexError:
    return CorruptIndexError(f"{catalog.path}: document {min(documents)} is missing; restore the index from a copy")


def vectors_of_passages(snapshot: Snapshot, step: float, numbers: NDArray[np.int64]) -> SparseRows:
    """The stored vectors of these passages of the snapshot (ascending, each once), [passages, columns]."""
    rows = np.searchsorted(snapshot.passages, numbers)
    borders = np.searchsorted(rows, [*snapshot.first_rows, snapshot.n_rows])
    n_columns = max(segment.n_columns for segment in snapshot.segments)
    parts = [
        segment.rows_of(rows[low:high] - first_row, step)
        for segment, first_row, low, high in zip(snapshot.segments, snapshot.first_rows, borders, borders[1:])
        if low < high
    ]
    return SparseRows.concatenate([replace(part, n_latents=n_columns) for part in parts])


def firings(
    chunks: Iterable[StoredRows], encoder: TextEncoder, keep: Callable[[str], bool], total: int, title: str
) -> Iterator[Firing]:
    """The passages as labels are derived from them: latents, stored weights and tokens; words are left out. Streams.

    keep: whether a document of this id belongs to it. total: passages of all chunks. title: of a progress bar; "" shows
    none.
    """
    with progress_bar(desc=title, total=total, unit="passage", shown=bool(title), leave=False) as bar:
        for chunk in chunks:
            for i, (name, text) in enumerate(zip(chunk.ids, chunk.texts)):
                if keep(name):
                    row = chunk.rows[i]
                    last = row.latents.searchsorted(encoder.n_latents)  # words follow the latents
                    positions = None if row.positions is None else row.positions[:last]
                    spans = encoder.token_spans(text, "document")
                    yield Firing(name, text, row.latents[:last], row.weights[:last], positions, spans)
            bar.update(len(chunk.ids))
