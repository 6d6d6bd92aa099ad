"""Segments: folders of immutable arrays. Written whole or not at all, checked before they are memory-mapped.

A segment holds the vectors of a run of consecutive passages: their postings, if wanted the same matrix row by row and
what the faster searches need, and two arrays that say which passage and which document each row is.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.errors import CorruptIndexError
from saelex.index.disk import durable
from saelex.index.kernels.arrays import CappedPostings, ForwardRows, Postings
from saelex.index.quantise import token_positions
from saelex.vectors import SparseRows

_SMALL = 4096  # bytes; smaller files are read instead of mapped, empty arrays cannot be mapped at all

Manifest = Mapping[str, durable.FileRecord]
"""What a commit recorded of each file of a segment, by the file's name without `.npy`."""


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

    def weights_of(self, row: int, columns: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[Any]]:
        """Those of the columns that a row has, and their weights, out of the postings: for where no rows are kept."""
        indptr, rows, weights = self.postings
        found = []
        for column in columns[columns < self.postings.n_columns].tolist():
            first, last = indptr[column], indptr[column + 1]
            entry = first + np.searchsorted(rows[first:last], row)
            if entry < last and rows[entry] == row:
                found.append((column, entry))
        entries = np.array(found, np.int64).reshape(-1, 2)
        return entries[:, 0].astype(np.int32), weights[entries[:, 1]]

    def rows_of(self, rows: NDArray[np.int64], step: float) -> SparseRows:
        """Some rows (ascending) as vectors: integers times the step.

        Where no forward rows are kept they are gathered from the postings, all of which that reads, and have no
        positions.
        """
        entries = self._entries_of(rows) if self.forward is None else self.forward.entries_of(rows)
        return SparseRows(
            entries.indptr,
            entries.latents,
            entries.weights.astype(np.float32) * np.float32(step),
            self.postings.n_columns,
            None if entries.positions is None else token_positions(entries.positions),
        )

    def _entries_of(self, rows: NDArray[np.int64]) -> ForwardRows:
        place = np.full(self.n_rows, -1, np.int32)  # of a row among those wanted
        place[rows] = np.arange(len(rows))
        owners = place[self.postings.rows]
        entries = np.flatnonzero(owners >= 0)
        columns = np.searchsorted(self.postings.indptr, entries, side="right") - 1
        order = np.argsort(owners[entries], kind="stable")  # columns stay ascending inside a row
        indptr = np.concatenate([[0], np.cumsum(np.bincount(owners[entries], minlength=len(rows)))]).astype(np.int64)
        return ForwardRows(indptr, columns[order].astype(np.int32), self.postings.weights[entries[order]])


@dataclass(frozen=True, eq=False)
class Segment:
    """A committed segment, its arrays memory-mapped."""

    number: int
    manifest: Manifest
    arrays: SegmentArrays

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(record.size for record in self.manifest.values())


_GROUPS: dict[str, type[Postings] | type[ForwardRows] | type[CappedPostings]] = {
    "postings": Postings,
    "forward": ForwardRows,
    "capped": CappedPostings,
    "first_step": Postings,
}


_NAME = re.compile(r"[1-9][0-9]*|\.[1-9][0-9]*\.tmp")
_FILES = {"passages.npy", "documents.npy"} | {
    f"{group}.{name}.npy" for group, kind in _GROUPS.items() for name in kind._fields
}


def write_segment(folder: Path, number: int, arrays: SegmentArrays) -> Manifest:
    """Make `folder/<number>` durable: files written and synced under a temporary name, then renamed.

    Nothing refers to it before the caller commits the manifest. On any error nothing of it remains.
    """
    temporary, target = folder / f".{number}.tmp", segment_folder(folder, number)
    durable.make_folder(temporary)
    half = temporary
    try:
        manifest = {
            name: durable.write_array(temporary / f"{name}.npy", array) for name, array in _flatten(arrays).items()
        }
        durable.sync_folder(temporary)
        durable.rename(temporary, target)
        half = target
        durable.sync_folder(folder)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise
    return manifest


def open_segment(folder: Path, number: int, manifest: Manifest) -> Segment:
    """Map a committed segment into memory.

    Every file's size is compared with the manifest first: reading a mapped file beyond its end would kill the process.
    A file that has another modification time than the writer recorded (a copied or restored index, or somebody's
    editor) is read once and its checksum compared as well; `verify_segment` does that for all files.

    Raises CorruptIndexError when a file is missing or damaged.
    """
    durable.check_own(segment_folder(folder, number))
    mapped: dict[str, NDArray[Any]] = {}
    for name, record in manifest.items():
        path = segment_folder(folder, number) / f"{name}.npy"
        try:
            status = path.stat()
        except FileNotFoundError as error:
            raise CorruptIndexError(f"{path}: missing; restore the index from a copy or build it anew") from error
        if status.st_size != record.size:
            raise CorruptIndexError(
                f"{path}: {status.st_size} bytes, not {record.size}; restore the index from a copy or build it anew"
            )
        if status.st_mtime_ns != record.modified:
            _compare_checksum(path, record)
        try:
            # a plain array over the map: numba treats memmap as a type of its own
            mapped[name] = np.load(path, mmap_mode="r" if record.size > _SMALL else None, allow_pickle=False).view(
                np.ndarray
            )
        except ValueError as error:
            raise CorruptIndexError(f"{path}: not an array file ({error}); build the index anew") from error
    return Segment(number, manifest, _gather(mapped, segment_folder(folder, number)))


def verify_segment(folder: Path, segment: Segment) -> None:
    """Read every file and compare its checksum. Raises CorruptIndexError."""
    for name, record in segment.manifest.items():
        _compare_checksum(segment_folder(folder, segment.number) / f"{name}.npy", record)


def segment_folder(folder: Path, number: int) -> Path:
    """Where a segment's files are."""
    return folder / str(number)


def reclaim(folder: Path, committed: set[int]) -> None:
    """Remove what no commit names: halves left by a crash, and segments merged away. For the writer alone.

    Only what `write_segment` made: whatever else somebody keeps in the folder stays.
    """
    for entry in folder.iterdir():
        # what cannot be looked at or removed now is found again by the next writer
        with suppress(OSError):
            if _is_segment(entry) and not (entry.name.isdecimal() and int(entry.name) in committed):
                durable.remove_folder(entry)


def newest_segment(folder: Path) -> int:
    """The largest number of a segment that is there, committed or not; 0 without any."""
    numbers = [int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal() and _is_segment(entry)]
    return max((number for number in numbers if any(segment_folder(folder, number).iterdir())), default=0)


def _is_segment(entry: Path) -> bool:
    """Whether this is a segment or half of one: by its name, and by all that is in it."""
    if not _NAME.fullmatch(entry.name) or entry.is_symlink() or not entry.is_dir():
        return False
    return all(file.is_file() and not file.is_symlink() and file.name in _FILES for file in entry.iterdir())


def _compare_checksum(path: Path, record: durable.FileRecord) -> None:
    if durable.checksum(path) != record.checksum:
        raise CorruptIndexError(
            f"{path}: its content is damaged (checksum); restore the index from a copy or build it anew"
        )


def _flatten(arrays: SegmentArrays) -> dict[str, NDArray[Any]]:
    """Array by file name: `passages`, `documents`, `postings.rows`, ..."""
    files: dict[str, NDArray[Any]] = {"passages": arrays.passages, "documents": arrays.documents}
    for group in _GROUPS:
        values = getattr(arrays, group)
        if values is not None:
            files.update({f"{group}.{name}": array for name, array in values._asdict().items() if array is not None})
    return files


def _gather(files: Mapping[str, NDArray[Any]], where: Path) -> SegmentArrays:
    try:
        groups: dict[str, Any] = {}
        for group, kind in _GROUPS.items():
            found = {name: files[f"{group}.{name}"] for name in kind._fields if f"{group}.{name}" in files}
            groups[group] = kind(**found) if found else None
        return SegmentArrays(files["passages"], files["documents"], **groups)
    except (KeyError, TypeError) as error:
        raise CorruptIndexError(f"{where}: the segment lacks arrays ({error}); build the index anew") from error
