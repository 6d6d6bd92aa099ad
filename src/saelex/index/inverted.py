"""InvertedIndex: sparse vectors under string ids, from any encoder, on disk and crash-safe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from saelex.errors import CorruptIndexError, InputError
from saelex.index.disk.storage import NewRows, Storage
from saelex.index.engine import (
    Hits,
    Limits,
    check_columns,
    check_documents,
    check_known,
    check_new,
    check_queries,
    closed,
    distinct,
)
from saelex.index.quantise import Quantiser, limits_of
from saelex.vectors import SparseRows

if TYPE_CHECKING:
    from saelex.index.disk.checking import CheckReport
    from saelex.index.request import Mode


class InvertedIndex:
    """An exact inverted index over the rows of SparseRows, a `VectorEngine`. Open it with `create` or `open`.

    Stored weights are integers (see `saelex.index.quantise`): scores equal the dot products of the stored weights to
    the last bit, and those of the float weights within rounding, some 1e-4 with 16 bits.

    Reading is safe from several threads; what other processes commit is seen after `refresh`.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        # Ids by number, of deleted vectors too: numbers are never used again. Searches go by `_snapshot`, which takes
        # the place of the storage's only when all its ids are here.
        self._ids: dict[int, str] = {}
        self._snapshot = storage.snapshot
        self.refresh()

    @classmethod
    def create(
        cls, path: str | Path, n_latents: int, *, bits: int = 16, forward: bool = True, pruned: bool = False
    ) -> InvertedIndex:
        """A new index in a new folder.

        n_latents: columns of the vectors. bits: 8 or 16 for a stored weight. forward: keep the vectors row by row as
        well, which doubles the size. pruned: keep what the `capped` and `two_step` searches read, too.
        Raises InputError where something is there already, or for settings that cannot be.
        """
        check_columns(n_latents, Limits())
        settings = {"kind": "vectors", "n_latents": n_latents, **storage_settings(bits, forward, pruned)}
        return cls(Storage.create(path, settings))

    @classmethod
    def open(cls, path: str | Path, *, wait: float = 0.0) -> InvertedIndex:
        """wait: seconds for which `add`, `delete` and `merge` wait until another process has written.

        Raises CorruptIndexError for a folder that is damaged or none of ours, InputError for one of documents.
        """
        storage = Storage.open(path, wait=wait)
        if storage.settings.get("kind") != "vectors":
            storage.close()
            raise InputError(f"{path}: an index of documents; open it with Index.open")
        return cls(storage)

    def close(self) -> None:
        """Let go of all files."""
        self._storage.close()
        self._snapshot = self._storage.snapshot

    def __enter__(self) -> InvertedIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- what it is -------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"InvertedIndex({str(self._storage.folder)!r})"

    @property
    def n_latents(self) -> int:
        """Columns of its vectors."""
        return int(self._storage.settings["n_latents"])

    @property
    def limits(self) -> Limits:
        """How far its integers may be off; see `quantise.limits_of`."""
        return limits_of(int(self._storage.settings["bits"]))

    @property
    def quantiser(self) -> Quantiser | None:
        """How weights became integers; None before the first weight came."""
        return self._storage.quantiser if "step" in self._storage.settings else None

    @property
    def size(self) -> int:
        """Bytes of the vectors on disk."""
        return sum(segment.size for segment in self._storage.snapshot.segments)

    def __len__(self) -> int:
        return self._snapshot.n_rows - len(self._snapshot.tombstones)

    def __contains__(self, name: str) -> bool:
        return bool(self._storage.catalog.find([name]))

    def refresh(self) -> bool:
        """Go on to the last commit of another process; whether there was one."""
        with self._storage.catalog.reading():
            changed = self._storage.refresh()
            self._catch_up()
        return changed

    def _catch_up(self) -> None:
        self._ids.update(self._storage.catalog.ids(above=next(reversed(self._ids), -1)))
        self._snapshot = self._storage.snapshot

    # ---- changing it ------------------------------------------------------------------------------------------------

    def add(self, ids: Sequence[str], vectors: SparseRows) -> None:
        """Add a batch of vectors in one commit: all of it or nothing. Large batches make large segments.

        Raises InputError for an id that is there already or twice in the batch, for weights that are negative or not
        finite, MismatchError for vectors with another number of latents.
        """
        storage = self._storage
        check_documents(self, ids, vectors)
        with storage.writing():
            check_new(ids, storage.catalog.find(ids))
            if not len(ids):
                return
            first = int(storage.catalog.settings()["next_passage"])
            numbers = np.arange(first, first + len(ids), dtype=np.int64)
            storage.commit(
                NewRows(vectors, numbers, numbers), lambda transaction: transaction.add_ids(first, list(ids))
            )
            storage.merge_small()
            self._catch_up()

    def delete(self, ids: Iterable[str]) -> None:
        """Delete vectors by id, in one commit. Raises InputError, and deletes none, when an id is not there."""
        storage = self._storage
        with storage.writing():
            numbers = numbers_of(storage, ids)
            storage.commit(deleted=numbers)
            self._catch_up()

    def merge(self) -> None:
        """Make few large segments out of many, and give the space of deleted vectors back."""
        with self._storage.writing():
            self._storage.merge()
            self._catch_up()

    def check(self) -> CheckReport:
        """Verify checksums, orders and agreement of everything on disk."""
        return self._storage.check()

    # ---- searching --------------------------------------------------------------------------------------------------

    def search(self, queries: SparseRows, k: int = 10, mode: Mode = "exact") -> Hits:
        """The k best vectors for each query row, those with a score above zero; ties in the order of adding.

        mode: "exact"; "capped" or "two_step" (see `saelex.index.modes`), which are faster and may miss some.
        Raises MismatchError for queries with another number of latents.
        """
        from saelex.index.batch import search_views

        check_queries(self, queries, k)
        quantiser, snapshot = self._storage.quantiser, self._snapshot
        if snapshot.generation < 0:  # as `close` leaves it
            raise closed(self)
        quantised = [quantiser.query(*queries.row(i)) for i in range(len(queries))]
        found = search_views(snapshot.views, quantised, k, mode)
        numbers = snapshot.passages
        return Hits(
            [[self._name(number) for number in numbers[top.rows].tolist()] for top in found],
            [top.scores.astype(np.float64) * (query.step * quantiser.step) for top, query in zip(found, quantised)],
            [top.postings for top in found],
        )

    def _name(self, number: int) -> str:
        if number not in self._ids:
            raise CorruptIndexError(f"{self._storage.folder}: the id of vector {number} is missing; run `saelex check`")
        return self._ids[number]


def storage_settings(bits: int, forward: bool, pruned: bool) -> dict[str, int | bool]:
    """The settings that every index has. Raises InputError for those that cannot be."""
    if bits not in (8, 16):
        raise InputError(f"weights are stored in 8 or 16 bits, not {bits}")
    if pruned and not forward:
        raise InputError("pruned searches score their candidates by forward rows; keep those, or leave out pruned")
    return {"bits": bits, "forward": forward, "pruned": pruned}


def numbers_of(storage: Storage, ids: Iterable[str]) -> list[int]:
    """The documents' numbers. Raises InputError for an id that is not in the index."""
    asked = distinct(ids)
    found = storage.catalog.find(asked)
    check_known(asked, found)
    return [found[name][0] for name in asked]
