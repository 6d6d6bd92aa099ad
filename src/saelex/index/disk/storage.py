"""What both indexes stand on: commits, snapshots, merges and checks of one index folder.

A folder holds `catalog.sqlite`, `writer.lock` and `segments/<number>.segment`. A commit makes the file of a segment
durable and then names it in one SQLite transaction together with everything that belongs to it; before the transaction
nothing refers to the file, after it the file is there. Old segments are removed only after the transaction that
drops their names.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.errors import CorruptIndexError, InputError, SaelexError
from saelex.files import absolute
from saelex.index.disk import durable
from saelex.index.disk.array_file import FileRecord
from saelex.index.disk.catalog import Catalog, Transaction
from saelex.index.disk.lock import check_wait, writer_lock
from saelex.index.disk.segments import (
    Segment,
    SegmentArrays,
    announce_segments,
    last_announced,
    newest_segment,
    open_segment,
    reclaim,
    segment_path,
    write_segment,
)
from saelex.index.disk.snapshot import Snapshot
from saelex.index.kernels.arrays import ForwardRows
from saelex.index.quantise import Quantiser
from saelex.vectors import SparseRows

if TYPE_CHECKING:
    from saelex.index.disk.checking import CheckReport

logger = logging.getLogger(__name__)

_CATALOG, _SEGMENTS = "catalog.sqlite", "segments"
_OWNER = "owner"  # a file in the segments folder that names the index, as its settings do


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

    settings: what the index was created with, as JSON values; fixed. snapshot: the commit that is read. wait: seconds
    for which `writing` waits for another writer.
    """

    def __init__(self, folder: Path, catalog: Catalog, wait: float = 0.0) -> None:
        self.folder = folder
        self.catalog = catalog
        self.settings: Mapping[str, Any]
        self.snapshot: Snapshot
        self._read_snapshot(())
        self._wait = wait
        self._writer: int | None = None  # process that is inside `writing()`

    @classmethod
    def create(cls, folder: str | Path, settings: Mapping[str, Any], *, wait: float = 0.0) -> Storage:
        """A new, empty index; it appears whole or not at all, and of several creators at once one has it.

        Raises InputError where something is there already.
        """
        wait = check_wait(wait)
        target = absolute(folder)
        taken = InputError(f"{target}: exists already; choose another name, or remove it first")
        if os.path.lexists(target) and (not target.is_dir() or any(target.iterdir())):
            raise taken
        place = Path(os.path.realpath(target))  # of a link to an empty folder, that folder; `resolve` stops at a loop
        temporary = place.with_name(f".{place.name}.{os.getpid()}.{secrets.token_hex(4)}.new")
        with _one_clear_error(target, "nothing was created"):
            place.parent.mkdir(parents=True, exist_ok=True)
            durable.make_folder(temporary)
            try:
                durable.make_folder(temporary / _SEGMENTS)
                owner = secrets.token_hex(16)
                durable.write_file(temporary / _SEGMENTS / _OWNER, [memoryview(owner.encode())])
                durable.sync_folder(temporary / _SEGMENTS)
                Catalog.create(temporary / _CATALOG, {"owner": owner, **settings})
                durable.sync_folder(temporary)
                durable.rename(temporary, place)
            except OSError as error:
                if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):  # somebody was quicker
                    raise taken from error
                raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        with _one_clear_error(target, "it is there, but a power cut may undo that"):
            durable.sync_folder(place.parent)
        return cls.open(target, wait=wait)

    @classmethod
    def open(cls, folder: str | Path, *, wait: float = 0.0) -> Storage:
        """Raises CorruptIndexError for a folder that is damaged or none of ours."""
        wait = check_wait(wait)
        target = absolute(folder)
        with _one_clear_error(target, "the index is as it was"):
            if not target.is_dir():
                raise InputError(f"{target}: no such index; make one with `saelex index SOURCE {target.name}`")
            catalog = Catalog.open(target / _CATALOG)
            try:
                return cls(target, catalog, wait)
            except BaseException:
                catalog.close()
                raise

    def close(self) -> None:
        """Let go of all files."""
        self.snapshot = Snapshot(-1, (), np.zeros(0, np.int64))
        self.catalog.close()

    # ---- reading ----------------------------------------------------------------------------------------------------

    @property
    def segments_folder(self) -> Path:
        return self.folder / _SEGMENTS

    @property
    def quantiser(self) -> Quantiser:
        """Its step is set when the index is created, or else by the first commit that brings a weight, for good."""
        return Quantiser(self.settings.get("step", 1.0), self.settings["bits"])

    def refresh(self) -> bool:
        """Go on to the last commit, if another process has made one; whether it has."""
        with _one_clear_error(self.folder, "its last commit cannot be read now"), self.catalog.reading():
            if self.catalog.generation() == self.snapshot.generation:
                return False
            self._read_snapshot(self.snapshot.segments)
            return True

    def _read_snapshot(self, known: Sequence[Segment]) -> None:
        """Settings and snapshot of one commit, whoever makes the next one meanwhile."""
        opened = {segment.number: segment for segment in known}
        # Segments are removed only after a commit, and SQLite lets nobody commit while this transaction reads: a file
        # that the list names cannot be merged away before it is open. Once mapped it stays until it is let go.
        with self.catalog.reading():
            self.settings = self.catalog.settings()
            self._check_segments_folder()
            generation, tombstones = self.catalog.generation(), self.catalog.tombstones()
            segments = []
            for number, record in self.catalog.segments():
                segments.append(opened.get(number) or open_segment(self.segments_folder, number, record))
        self.snapshot = Snapshot(generation, tuple(segments), tombstones)

    def _check_segments_folder(self) -> None:
        durable.check_own(self.segments_folder)
        if not self.segments_folder.is_dir():
            raise CorruptIndexError(f"{self.segments_folder}: missing; restore the index from a copy or build it anew")
        mark = self.segments_folder / _OWNER
        durable.check_own(mark)
        # two indexes that share the folder, mounted twice, would each remove what the other has written
        if not mark.is_file() or mark.read_bytes() != str(self.settings.get("owner")).encode():
            raise CorruptIndexError(
                f"{self.segments_folder}: another index's, or without its mark {_OWNER!r}; "
                "restore the index from a copy or build it anew"
            )

    # ---- writing ----------------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The right to write, at the last commit, with what a crash may have left behind removed.

        Raises SaelexError where another process is writing, still after the seconds to wait. Whatever fails inside, the
        index stays at its last commit; a full disk is one SaelexError.
        """
        with (
            _one_clear_error(self.folder, "the index is as it was at its last commit"),
            writer_lock(self.folder, self._wait),
        ):
            durable.check_alone(self.folder / _CATALOG)
            self.refresh()
            self._reclaim()
            self._writer = os.getpid()
            try:
                yield
            finally:
                self._writer = None

    def _reclaim(self) -> None:
        self._check_segments_folder()
        newest, expected = newest_segment(self.segments_folder), int(self.settings["next_segment"])
        if newest > last_announced(self.segments_folder, expected):  # no crash of ours leaves such a one
            raise CorruptIndexError(
                f"{self.folder}: segment {newest} is of a later commit than {_CATALOG} knows, which seems to be an old "
                "copy; restore the whole folder"
            )
        reclaim(self.segments_folder, {segment.number for segment in self.snapshot.segments})

    def commit(
        self,
        new: NewRows | None = None,
        fill: Callable[[Transaction], None] = lambda transaction: None,
        *,
        deleted: Sequence[int] = (),
        remake: Callable[[Segment], SegmentRows] | None = None,
    ) -> None:
        """One commit: new rows, deleted documents, and what `fill` writes beside them. Call inside `writing()`.

        remake: makes the live rows of every segment anew; the segments take the place of the old ones in this commit.
        """
        changed: dict[str, Any] = {}
        made: Iterator[SegmentRows] = iter(())
        if remake is not None:
            self._check_writing()
            self._reclaim()
            first = int(self.settings["next_segment"])
            announce_segments(self.segments_folder, first, first + len(self.snapshot.segments))
            made = map(remake, self.snapshot.segments)
        if new is not None and len(new.passages):
            quantiser = self._quantiser_for(new.vectors)
            if new.vectors.weights.any():  # vectors without a weight say nothing of how heavy later ones are
                changed["step"] = quantiser.step
            rows = SegmentRows(quantiser.documents(new.vectors), new.vectors.n_latents, new.passages, new.documents)
            made = chain(made, [rows])
        written: list[tuple[int, int, FileRecord]] = []
        for part in made:
            if len(part.passages):
                record, number = self._write(self._built(part), after=len(written))
                written.append((number, int(part.passages[0]), record))
        with self._transaction() as transaction:
            if deleted:
                transaction.delete_documents(deleted)
            fill(transaction)
            transaction.set_settings(changed)
            if remake is not None:
                transaction.remove_segments([segment.number for segment in self.snapshot.segments])
                transaction.drop_tombstones([*self.snapshot.tombstones.tolist(), *deleted])
            for segment in written:
                transaction.add_segment(*segment)
        if remake is not None:
            self._remove_old()

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

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        """A transaction, and on to the commit that it makes. An error that comes after the commit says so."""
        self._check_writing()
        before = self.snapshot.generation
        try:
            with self.catalog.transaction() as transaction:
                yield transaction
            self.refresh()
        except (OSError, SaelexError) as error:
            if self._committed_since(before):
                raise _standing(error) from error
            raise

    def _committed_since(self, generation: int) -> bool:
        with suppress(OSError, SaelexError):
            return self.catalog.generation() > generation
        return False

    def _check_writing(self) -> None:
        if self._writer != os.getpid():
            raise SaelexError(f"{self.folder}: the right to write is another process's; open the index in this one")

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
        except SaelexError as error:
            raise _standing(error) from error

    def merge(self) -> None:
        """Rewrite neighbouring segments into few large ones, without the rows of deleted documents.

        Call inside `writing()`.
        """
        from saelex.index.disk.building import groups_to_merge

        for group in groups_to_merge(self.snapshot.segments, self.snapshot.tombstones):
            self._replace(group)

    def _replace(self, chosen: Sequence[Segment]) -> None:
        from saelex.index.disk.building import merge_segments

        old = [segment.arrays(pruned=False) for segment in chosen]
        arrays = merge_segments(old, self.snapshot.tombstones, pruned=self.settings["pruned"])
        present = np.concatenate([segment.documents for segment in old])
        dropped = np.intersect1d(self.snapshot.tombstones, present)
        record, number = self._write(arrays) if arrays.n_rows else (None, 0)
        with self._transaction() as transaction:
            transaction.remove_segments([segment.number for segment in chosen])
            transaction.drop_tombstones(dropped.tolist())
            if record is not None:
                transaction.add_segment(number, int(arrays.passages[0]), record)
        self._remove_old()

    def _remove_old(self) -> None:
        with suppress(OSError):  # the next writer finds them again
            self._reclaim()

    def _write(self, arrays: SegmentArrays, after: int = 0) -> tuple[FileRecord, int]:
        """Record and number of a new segment, `after` so many others that the same commit will name."""
        self._check_writing()
        number = int(self.settings["next_segment"]) + after
        place = segment_path(self.segments_folder, number)
        if os.path.lexists(place) and not after:  # of a commit that failed a moment ago
            self._reclaim()
        if os.path.lexists(place):
            raise CorruptIndexError(f"{place}: is where the next segment belongs; move it away, or restore the index")
        return write_segment(self.segments_folder, number, arrays), number

    # ---- checking ---------------------------------------------------------------------------------------------------

    def check(self) -> CheckReport:
        """Read everything and compare it with everything it should agree with; see `CheckReport`."""
        from saelex.index.disk.checking import check_storage

        self.refresh()
        return check_storage(self.catalog, self.segments_folder, self.snapshot)


@contextmanager
def _one_clear_error(folder: Path, state: str) -> Iterator[None]:
    """What the operating system refuses (a full disk, missing rights) as one SaelexError. state: of the index then."""
    try:
        yield
    except OSError as error:
        raise SaelexError(f"{folder}: {error.strerror or error}; {state}") from error


def _standing(error: OSError | SaelexError) -> SaelexError:
    """An error that came after a commit, which says so."""
    kind = type(error) if isinstance(error, SaelexError) else SaelexError
    return kind(f"{error}; what was committed before that stands")
