"""Segments: files of immutable arrays. Written whole or not at all; of what is read every byte is verified first.

A segment holds the vectors of a run of consecutive passages: their postings, if wanted the same matrix row by row and
what the faster searches need, and two arrays that say which passage and which document each row is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.index.disk import durable
from saelex.index.disk.array_file import ArrayFile, FileRecord, damaged, is_array_file, ranges, write_arrays
from saelex.index.kernels.arrays import CappedPostings, ForwardRows, Matrix, Postings
from saelex.index.quantise import token_positions
from saelex.vectors import SparseRows

_AHEAD = 1 << 20  # bytes verified beyond what is asked for
_NAME = re.compile(r"([1-9][0-9]*)\.segment|\.[1-9][0-9]*\.segment\.tmp|\.([1-9][0-9]*)-([1-9][0-9]*)\.segments\.tmp")


class SegmentArrays(NamedTuple):
    """What a segment holds. Rows are the passages in ascending order; a document's passages stand side by side."""

    passages: NDArray[np.int64]  # [rows], strictly ascending
    documents: NDArray[np.int64]  # [rows], ascending; a document has the number of its first passage
    postings: Postings
    forward: ForwardRows | None = None
    capped: CappedPostings | None = None
    first_step: Postings | None = None

    @property
    def n_rows(self) -> int:
        return len(self.passages)


class StoredLines(Generic[Matrix]):
    """A matrix in a segment's file, as `kernels.arrays.Lines`: its lines are verified when they are first asked for.

    Whoever waits for some waits for a MiB more, so that soon all are, and asking costs nothing.

    width: what the other coordinate must stay below. Beside the checksums the order of all entries is checked, so that
    compiled code stays inside its arrays whatever was written.
    """

    def __init__(self, file: ArrayFile, name: str, kind: type[Matrix], width: int) -> None:
        self._file = file
        self._names = [f"{name}.{field}" for field in kind._fields if f"{name}.{field}" in file.sizes]
        self._width = width
        arrays = [file.array(name) for name in self._names]
        self._matrix = kind(*arrays)
        self._indptr, self._inner = arrays[:2]
        self.n_lines, self.n_entries = len(self._indptr) - 1, len(self._inner)
        if any(len(array) != self.n_entries for array in arrays[1:]):
            raise damaged(file.path, f"the arrays of {name} differ in length")
        self._stride = 1 + self.n_lines * _AHEAD // sum(array.nbytes for array in arrays)
        self._next = 0  # the first line that was not verified ahead
        self._verified = np.zeros(self.n_lines, np.bool_)
        self._whole = False

    def lines(self, numbers: NDArray[Any]) -> Matrix:
        """The matrix, of which these lines may be read. Raises CorruptIndexError where one of them is damaged."""
        if not self._whole and len(numbers):
            known = numbers[numbers < self.n_lines]
            unread = known[~self._verified[known]]
            if len(unread):
                self._verify(unread)
                self._verify_ahead()
        return self._matrix

    def whole(self) -> Matrix:
        """The matrix, all of which may be read. Raises CorruptIndexError."""
        if not self._whole:
            self._verify(np.arange(self.n_lines))
            self._end()
        return self._matrix

    def _verify_ahead(self) -> None:
        first = self._next  # another thread may be at it as well
        stop = min(first + self._stride, self.n_lines)
        self._verify(np.arange(first, stop))
        self._next = stop
        if stop == self.n_lines:
            self._end()

    def _end(self) -> None:
        """All may be verified: if another thread has left nothing out."""
        if not self._verified.all():
            self._next = 0
            return
        if self._indptr[0] != 0 or self._indptr[-1] != self.n_entries:
            raise damaged(self._file.path, f"{self._names[0]}: the borders are wrong")
        self._whole = True

    def _verify(self, lines: NDArray[Any]) -> None:
        if not len(lines):
            return
        self._file.verify(self._names[0], lines, lines + 2)
        first, last = self._indptr[lines], self._indptr[lines + 1]
        if np.any(first < 0) or np.any(first > last) or np.any(last > self.n_entries):
            raise damaged(self._file.path, f"{self._names[0]}: the borders are wrong")
        apart = first[1:] != last[:-1]  # neighbouring lines are one range
        starts, stops = first[np.append(True, apart)], last[np.append(apart, True)]
        for name in self._names[1:]:
            self._file.verify(name, starts, stops)
        one = len(starts) == 1  # of a whole matrix no copy is made
        inner = self._inner[starts[0] : stops[0]] if one else self._inner[ranges(starts, stops)]
        descents = np.flatnonzero(inner[1:] <= inner[:-1]) + 1
        outside = len(inner) and (inner.min() < 0 or inner.max() >= self._width)
        if outside or not np.isin(descents, np.cumsum(last - first)).all():
            what = f"{self._names[1]}: entries out of order, or outside 0..{self._width - 1}"
            raise damaged(self._file.path, what)
        self._verified[lines] = True


class Segment:
    """A committed segment. What it gives has been compared with its checksums, when it was first asked for.

    So whatever asks may meet a CorruptIndexError.
    """

    def __init__(self, number: int, file: ArrayFile) -> None:
        self.number = number
        self.n_rows = len(file.array("passages"))
        self.postings = StoredLines(file, "postings", Postings, self.n_rows)
        self.n_columns, self.n_nonzero = self.postings.n_lines, self.postings.n_entries
        self.forward = self._part(file, "forward", ForwardRows, self.n_columns)
        self.capped = self._part(file, "capped", CappedPostings, self.n_rows)
        self.first_step = self._part(file, "first_step", Postings, self.n_rows)
        self._file = file
        rows = {self.n_rows, len(file.array("documents")), self.forward.n_lines if self.forward else self.n_rows}
        if len(rows) > 1:
            raise damaged(file.path, f"passages, documents and forward rows differ in number: {rows}")

    @staticmethod
    def _part(file: ArrayFile, name: str, kind: type[Matrix], width: int) -> StoredLines[Matrix] | None:
        return StoredLines(file, name, kind, width) if f"{name}.indptr" in file.sizes else None

    @property
    def record(self) -> FileRecord:
        """What the commit recorded of its file."""
        return self._file.record

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.record.size

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each array."""
        return self._file.sizes

    @cached_property
    def passages(self) -> NDArray[np.int64]:
        """See `SegmentArrays`."""
        return self._file.whole("passages")

    @cached_property
    def documents(self) -> NDArray[np.int64]:
        """See `SegmentArrays`."""
        return self._file.whole("documents")

    def arrays(self, *, pruned: bool = True) -> SegmentArrays:
        """All of it. pruned: with what the faster searches read, which a merge makes anew."""

        def whole(part: StoredLines[Matrix] | None) -> Matrix | None:
            return None if part is None else part.whole()

        arrays = SegmentArrays(self.passages, self.documents, self.postings.whole(), whole(self.forward))
        if pruned:
            return arrays._replace(capped=whole(self.capped), first_step=whole(self.first_step))
        return arrays

    def weights_of(self, row: int, columns: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[Any]]:
        """Those of the columns that a row has, and their weights, out of the postings: for where no rows are kept."""
        indptr, rows, weights = self.postings.lines(columns)
        found = []
        for column in columns[columns < self.n_columns].tolist():
            first, last = indptr[column], indptr[column + 1]
            entry = first + np.searchsorted(rows[first:last], row)
            if entry < last and rows[entry] == row:
                found.append((column, entry))
        entries = np.array(found, np.int64).reshape(-1, 2)
        return entries[:, 0].astype(np.int32), weights[entries[:, 1]]

    def entries_of(self, rows: NDArray[np.int64]) -> ForwardRows:
        """Some rows (ascending) as stored.

        Where no forward rows are kept they are gathered from the postings, all of which that reads, and have no
        positions.
        """
        return self._gathered(rows) if self.forward is None else self.forward.lines(rows).entries_of(rows)

    def rows_of(self, rows: NDArray[np.int64], step: float) -> SparseRows:
        """Some rows (ascending) as vectors: integers times the step; see `entries_of`."""
        entries = self.entries_of(rows)
        return SparseRows(
            entries.indptr,
            entries.latents,
            entries.weights.astype(np.float32) * np.float32(step),
            self.n_columns,
            None if entries.positions is None else token_positions(entries.positions),
        )

    def _gathered(self, rows: NDArray[np.int64]) -> ForwardRows:
        postings = self.postings.whole()
        place = np.full(self.n_rows, -1, np.int32)  # of a row among those wanted
        place[rows] = np.arange(len(rows))
        owners = place[postings.rows]
        entries = np.flatnonzero(owners >= 0)
        columns = np.searchsorted(postings.indptr, entries, side="right") - 1
        order = np.argsort(owners[entries], kind="stable")  # columns stay ascending inside a row
        indptr = np.concatenate([[0], np.cumsum(np.bincount(owners[entries], minlength=len(rows)))]).astype(np.int64)
        return ForwardRows(indptr, columns[order].astype(np.int32), postings.weights[entries[order]])


def write_segment(folder: Path, number: int, arrays: SegmentArrays) -> FileRecord:
    """Make `folder/<number>.segment` durable: written and synced under a temporary name, then renamed.

    Nothing refers to it before the caller commits the record. On any error nothing of it remains.
    """
    target = segment_path(folder, number)
    half = target.with_name(f".{target.name}.tmp")
    record = write_arrays(half, _flatten(arrays))
    try:
        durable.rename(half, target)
        half = target
        durable.sync_folder(folder)
    except BaseException:
        half.unlink(missing_ok=True)
        raise
    return record


def open_segment(folder: Path, number: int, record: FileRecord) -> Segment:
    """Open a committed segment, of which only the directory of its file is read.

    Raises CorruptIndexError when the file is missing, of another size or another segment's.
    """
    path = segment_path(folder, number)
    durable.check_own(path)
    return Segment(number, ArrayFile(path, record))


def verify_segment(folder: Path, number: int, record: FileRecord) -> SegmentArrays:
    """Read a committed segment once more, all of its file, and what it holds. Raises CorruptIndexError."""
    file = ArrayFile(segment_path(folder, number), record)
    file.verify_all()
    return Segment(number, file).arrays()


def segment_path(folder: Path, number: int) -> Path:
    """Where a segment is."""
    return folder / f"{number}.segment"


def announce_segments(folder: Path, first: int, last: int) -> None:
    """Make durable that one commit writes segments of these numbers: a crash of it may leave several that none names.

    `reclaim` removes the file again, after the segments.
    """
    durable.write_file(folder / f".{first}-{last}.segments.tmp", ())
    durable.sync_folder(folder)


def last_announced(folder: Path, first: int) -> int:
    """The largest number of a segment that a crash may have left, where the next one has this number."""
    return max((int(name[3]) for name, _ in _own(folder) if name[2] and int(name[2]) == first), default=first)


def reclaim(folder: Path, committed: set[int]) -> None:
    """Remove what no commit names: halves left by a crash, and segments merged away. For the writer alone.

    Only what this module made: whatever else somebody keeps in the folder stays.
    """
    left = [(name, entry) for name, entry in _own(folder) if not (name[1] and int(name[1]) in committed)]
    announcements = [entry for name, entry in left if name[2]]
    removed = [_removed(entry) for name, entry in left if not name[2]]
    if all(removed) and announcements:
        with suppress(OSError):
            durable.sync_folder(folder)
            for entry in announcements:
                durable.remove_file(entry)


def _removed(entry: Path) -> bool:
    """False where it cannot be removed now: the next writer finds it again."""
    try:
        durable.remove_file(entry)
    except OSError:
        return False
    return True


def newest_segment(folder: Path) -> int:
    """The largest number of a segment that is there, committed or not; 0 without any."""
    return max((int(name[1]) for name, _ in _own(folder) if name[1]), default=0)


def _own(folder: Path) -> list[tuple[re.Match[str], Path]]:
    """What this module made: groups 1 of its name a segment's number, 2 and 3 the numbers of an announcement."""
    named = [(name, entry) for entry in folder.iterdir() if (name := _NAME.fullmatch(entry.name))]
    return [(name, entry) for name, entry in named if is_array_file(entry)]


def _flatten(arrays: SegmentArrays) -> Mapping[str, NDArray[Any]]:
    """Array by name: `passages`, `documents`, `postings.rows`, ..."""
    flat: dict[str, NDArray[Any]] = {"passages": arrays.passages, "documents": arrays.documents}
    for name in ("postings", "forward", "capped", "first_step"):
        matrix = getattr(arrays, name)
        if matrix is not None:
            flat.update({f"{name}.{field}": array for field, array in matrix._asdict().items() if array is not None})
    return flat
