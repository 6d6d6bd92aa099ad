"""What both indexes stand on: commits, snapshots, merges and checks of one index folder.

A folder holds `catalog.sqlite`, `writer.lock` and `segments/<number>/*.npy`. A commit makes the files of a segment
durable and then names it in one SQLite transaction together with everything that belongs to it; before the transaction
nothing refers to the files, after it all of them are there. Old segments are removed only after the transaction that
drops their names.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.errors import InputError, SaelexError
from saelex.files import absolute
from saelex.index.disk import durable
from saelex.index.disk.catalog import Catalog, Transaction
from saelex.index.disk.lock import writer_lock
from saelex.index.disk.segments import Segment, SegmentArrays, open_segment, reclaim, segment_folder, write_segment
from saelex.index.disk.snapshot import Snapshot
from saelex.index.kernels.arrays import ForwardRows
from saelex.index.quantise import Quantiser
from saelex.vectors import SparseRows

if TYPE_CHECKING:
    from saelex.index.disk.checking import CheckReport

logger = logging.getLogger(__name__)

_CATALOG = "catalog.sqlite"


class NewRows(NamedTuple):
    """Vectors of consecutive passages to be added: row i is passage `passages[i]` of document `documents[i]`."""

    vectors: SparseRows
    passages: NDArray[np.int64]
    documents: NDArray[np.int64]


class SegmentRows(NamedTuple):
    """What a segment is made of: rows of integers, and the passage and the document that each of them is."""

    rows: ForwardRows
    n_columns: int
    passages: NDArray[np.int64]
    documents: NDArray[np.int64]


class Storage:
    """An open index folder. Any number of them may read, in any number of processes; one at a time writes.

    settings: what the index was created with, as JSON values; fixed. snapshot: the commit that is read.
    """

    def __init__(self, folder: Path, catalog: Catalog) -> None:
        self.folder = folder
        self.catalog = catalog
        self.settings: Mapping[str, Any] = _settings(catalog)
        self.snapshot = self._read_snapshot(())

    @classmethod
    def create(cls, folder: str | Path, settings: Mapping[str, Any]) -> Storage:
        """A new, empty index; it appears whole or not at all. Raises InputError where something is there already."""
        target = absolute(folder)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise InputError(f"{target}: exists already; choose another name, or remove it first")
        temporary = target.with_name(f".{target.name}.new")
        with _one_clear_error(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
            durable.make_folder(temporary)
            try:
                durable.make_folder(temporary / "segments")
                Catalog.create(temporary / _CATALOG, settings)
                durable.sync_folder(temporary)
                durable.rename(temporary, target)
                durable.sync_folder(target.parent)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return cls.open(target)

    @classmethod
    def open(cls, folder: str | Path) -> Storage:
        """Raises CorruptIndexError for a folder that is damaged or none of ours."""
        target = absolute(folder)
        if not target.is_dir():
            raise InputError(f"{target}: no such index; make one with `saelex index SOURCE {target.name}`")
        with _one_clear_error(target):
            return cls(target, Catalog.open(target / _CATALOG))

    def close(self) -> None:
        """Let go of all files."""
        self.snapshot = Snapshot(-1, (), np.zeros(0, np.int64))
        self.catalog.close()

    # ---- reading ----------------------------------------------------------------------------------------------------

    @property
    def segments_folder(self) -> Path:
        return self.folder / "segments"

    @property
    def quantiser(self) -> Quantiser:
        """Its step is set when the index is created, or else by the first commit that brings a weight, for good."""
        return Quantiser(self.settings.get("step", 1.0), self.settings["bits"])

    def refresh(self) -> bool:
        """Go on to the last commit, if another process has made one; whether it has."""
        with _one_clear_error(self.folder), self.catalog.reading():
            if self.catalog.generation() == self.snapshot.generation:
                return False
            self.settings = _settings(self.catalog)
            self.snapshot = self._read_snapshot(self.snapshot.segments)
            return True

    def _read_snapshot(self, known: Sequence[Segment]) -> Snapshot:
        opened = {segment.number: segment for segment in known}
        # Segments are removed only after a commit, and SQLite lets nobody commit while this transaction reads: a file
        # that the list names cannot be merged away before it is open. Once mapped it stays until it is let go.
        with self.catalog.reading():
            generation, tombstones = self.catalog.generation(), self.catalog.tombstones()
            segments = []
            for number, manifest in self.catalog.segments():
                segments.append(opened.get(number) or open_segment(self.segments_folder, number, manifest))
        return Snapshot(generation, tuple(segments), tombstones)

    # ---- writing ----------------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The right to write, at the last commit, with what a crash may have left behind removed.

        Whatever fails inside, the index stays at its last commit; a full disk is one SaelexError.
        """
        with _one_clear_error(self.folder), writer_lock(self.folder):
            self.refresh()
            reclaim(self.segments_folder, {segment.number for segment in self.snapshot.segments})
            yield

    def commit(
        self,
        new: NewRows | None = None,
        fill: Callable[[Transaction], None] = lambda transaction: None,
        *,
        deleted: Sequence[int] = (),
        remake: Callable[[SegmentArrays], SegmentRows] | None = None,
    ) -> None:
        """One commit: new rows, deleted documents, and what `fill` writes beside them. Call inside `writing()`.

        remake: makes the live rows of every segment anew; the segments take the place of the old ones in this commit.
        """
        changed: dict[str, Any] = {}
        made: Iterator[SegmentRows] = iter(())
        if remake is not None:
            made = (remake(segment.arrays) for segment in self.snapshot.segments)
        if new is not None and len(new.passages):
            quantiser = self._quantiser_for(new.vectors)
            if new.vectors.weights.any():  # vectors without a weight say nothing of how heavy later ones are
                changed["step"] = quantiser.step
            rows = SegmentRows(quantiser.documents(new.vectors), new.vectors.n_latents, new.passages, new.documents)
            made = chain(made, [rows])
        written: list[tuple[int, int, Any]] = []
        for part in made:
            if len(part.passages):
                manifest, number = self._write(self._built(part), after=len(written))
                written.append((number, int(part.passages[0]), manifest))
        with self.catalog.transaction() as transaction:
            if deleted:
                transaction.delete_documents(deleted)
            fill(transaction)
            transaction.set_settings(changed)
            if remake is not None:
                transaction.remove_segments([segment.number for segment in self.snapshot.segments])
                transaction.drop_tombstones([*self.snapshot.tombstones.tolist(), *deleted])
            for segment in written:
                transaction.add_segment(*segment)
        self.refresh()
        if remake is not None:
            reclaim(self.segments_folder, {segment.number for segment in self.snapshot.segments})

    def _quantiser_for(self, vectors: SparseRows) -> Quantiser:
        """The index's, or where no rows are there yet and it does not hold these, one that does."""
        if "step" in self.settings:
            quantiser = self.quantiser
            if self.snapshot.segments or vectors.weights.max(initial=0.0) <= quantiser.top * quantiser.step:
                return quantiser
        return Quantiser.for_weights(vectors.weights, self.settings["bits"])

    def _built(self, part: SegmentRows) -> SegmentArrays:
        from saelex.index.disk.building import build_segment  # loads compiled code that only a writer needs

        return build_segment(*part, forward=self.settings["forward"], pruned=self.settings["pruned"])

    def merge_small(self) -> None:
        """Merge the newest segments if there are many of one size. Call inside `writing()`, after a commit.

        That commit stands whatever happens here, so a merge that finds no room is only logged.
        """
        from saelex.index.disk.building import segments_to_merge

        try:
            while chosen := segments_to_merge(self.snapshot.segments):
                self._replace(chosen)
        except OSError as error:
            logger.warning("%s: small segments stay unmerged: %s", self.folder, error.strerror or error)

    def merge(self) -> None:
        """Rewrite neighbouring segments into few large ones, without the rows of deleted documents.

        Call inside `writing()`.
        """
        from saelex.index.disk.building import groups_to_merge

        for group in groups_to_merge(self.snapshot.segments, self.snapshot.tombstones):
            self._replace(group)

    def _replace(self, chosen: Sequence[Segment]) -> None:
        from saelex.index.disk.building import merge_segments

        old = [segment.arrays for segment in chosen]
        arrays = merge_segments(old, self.snapshot.tombstones, pruned=self.settings["pruned"])
        present = np.concatenate([segment.arrays.documents for segment in chosen])
        dropped = np.intersect1d(self.snapshot.tombstones, present)
        manifest, number = self._write(arrays) if arrays.n_rows else (None, 0)
        with self.catalog.transaction() as transaction:
            transaction.remove_segments([segment.number for segment in chosen])
            transaction.drop_tombstones(dropped.tolist())
            if manifest is not None:
                transaction.add_segment(number, int(arrays.passages[0]), manifest)
        self.refresh()
        reclaim(self.segments_folder, {segment.number for segment in self.snapshot.segments})

    def _write(self, arrays: SegmentArrays, after: int = 0) -> tuple[Any, int]:
        """Manifest and number of a new segment, `after` so many others that the same commit will name."""
        number = int(self.catalog.settings()["next_segment"]) + after
        shutil.rmtree(segment_folder(self.segments_folder, number), ignore_errors=True)
        return write_segment(self.segments_folder, number, arrays), number

    # ---- checking ---------------------------------------------------------------------------------------------------

    def check(self) -> CheckReport:
        """Read everything and compare it with everything it should agree with; see `CheckReport`."""
        from saelex.index.disk.checking import check_storage

        self.refresh()
        return check_storage(self.catalog, self.segments_folder, self.snapshot)


def _settings(catalog: Catalog) -> dict[str, Any]:
    """What the index was created with; before it was a setting of its own, `pruned` went with `forward`."""
    settings = catalog.settings()
    return {"pruned": settings.get("forward"), **settings}


@contextmanager
def _one_clear_error(folder: Path) -> Iterator[None]:
    """What the operating system refuses (a full disk, missing rights) as one SaelexError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise SaelexError(f"{folder}: {reason}; the index is as it was at its last commit") from error
