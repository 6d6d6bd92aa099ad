"""Named arrays in one file: written in one go, mapped once, and no byte of it served before its checksum is compared.

A few bytes say what the file is. The arrays follow, each at the start of a cache line, and after them the directory: a
line of JSON that says where they are, then the crc32 of every block of all bytes before. The catalogue keeps where the
directory begins, and its crc32. So what is there is known after reading the directory alone, and of the rest only what
is used is read.
"""

from __future__ import annotations

import json
import mmap
import os
import stat
import weakref
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.errors import CorruptIndexError
from saelex.index.disk import durable

BLOCK = 1 << 13
"""Bytes under one checksum: 4 µs to compare, and 1/2048 of the file for the checksums."""

_MOST_READ = 1 << 20  # bytes read at once

_MARK = b"saelex arrays 1\n"
_ALIGNMENT = 64


class FileRecord(NamedTuple):
    """What a commit records of a file of arrays."""

    size: int  # bytes
    directory: int  # byte at which the directory begins
    checksum: int  # crc32 of the directory


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> FileRecord:
    """Write the arrays to a new file and sync it."""
    places: dict[str, tuple[str, int, int]] = {}
    parts = [memoryview(_MARK)]
    end = len(_MARK)
    for name, array in arrays.items():
        contiguous = np.ascontiguousarray(array)
        padding = -end % _ALIGNMENT
        parts += [memoryview(bytes(padding)), contiguous.view(np.uint8).data]
        places[name] = contiguous.dtype.str, len(contiguous), end + padding
        end += padding + contiguous.nbytes
    directory = json.dumps(places).encode() + b"\n" + np.array(_block_checksums(parts), "<u4").tobytes()
    durable.write_file(path, [*parts, memoryview(directory)])
    return FileRecord(end + len(directory), end, zlib.crc32(directory))


def _block_checksums(parts: Iterable[memoryview]) -> list[int]:
    checksums: list[int] = []
    checksum, room = 0, BLOCK
    for part in parts:
        while part:
            checksum = zlib.crc32(part[:room], checksum)
            part, room = part[room:], room - len(part[:room])
            if not room:
                checksums.append(checksum)
                checksum, room = 0, BLOCK
    return checksums if room == BLOCK else [*checksums, checksum]


def is_array_file(path: Path) -> bool:
    """Whether this is a file of arrays, or as much of one as a crash may have left; no link to one."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(len(_MARK))
    return _MARK.startswith(head) or not head.strip(b"\0")


class ArrayFile:
    """An open file of arrays. Ask `verify` for the entries that are to be read of an `array`, or take a `whole` one.

    Blocks are read with calls that can fail, where a map of a short file or a bad sector would end the process. A file
    that somebody cuts short while it is open is beyond that: nobody may change an index's files. Safe from several
    threads.
    """

    def __init__(self, path: Path, record: FileRecord) -> None:
        """Reads the directory only. Raises CorruptIndexError for a file that is missing or not as recorded."""
        self.path = path
        self.record = record
        try:
            # a pipe in its place would make opening wait, and not only reading fail
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError as error:
            raise self._damaged("missing") from error
        weakref.finalize(self, os.close, self._descriptor)
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise self._damaged("not a file")
        if status.st_size != record.size:
            raise self._damaged(f"{status.st_size} bytes, not {record.size}")
        directory = self._read(record.directory, record.size) if 0 <= record.directory < record.size else b""
        if not directory or zlib.crc32(directory) != record.checksum:
            raise self._damaged("its content is damaged (checksum of the directory)")
        places, _, checksums = directory.partition(b"\n")
        self._places: dict[str, tuple[str, int, int]] = json.loads(places)
        self._checksums: NDArray[np.uint32] = np.frombuffer(checksums, "<u4")
        self._verified = np.zeros(len(self._checksums), np.bool_)
        self._map = mmap.mmap(self._descriptor, record.size, access=mmap.ACCESS_READ)

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of every array."""
        return {name: np.dtype(dtype).itemsize * length for name, (dtype, length, _) in self._places.items()}

    def array(self, name: str) -> NDArray[Any]:
        """A mapped array, of which only verified entries may be read. Raises CorruptIndexError where there is none."""
        if name not in self._places:
            raise self._damaged(f"it has no {name}")
        dtype, length, start = self._places[name]
        return np.frombuffer(self._map, dtype, length, start)

    def whole(self, name: str) -> NDArray[Any]:
        """A mapped array, verified. Raises CorruptIndexError."""
        array = self.array(name)
        self.verify(name, np.array([0]), np.array([len(array)]))
        return array

    def verify(self, name: str, first: NDArray[np.int64], last: NDArray[np.int64]) -> None:
        """Compare the blocks that hold entries first[i]:last[i] of an array with their checksums, once for each block.

        Raises CorruptIndexError.
        """
        dtype, _, start = self._places[name]
        itemsize = np.dtype(dtype).itemsize
        self._verify_blocks(ranges((start + first * itemsize) // BLOCK, -(-(start + last * itemsize) // BLOCK)))

    def verify_all(self) -> None:
        """Read every block again and compare its checksum. Raises CorruptIndexError."""
        self._verified[:] = False
        if hasattr(os, "posix_fadvise"):  # from the disk, as far as nobody has it mapped, not from memory
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        self._verify_blocks(np.arange(len(self._verified)))

    def _verify_blocks(self, blocks: NDArray[np.int64]) -> None:
        unread = np.unique(blocks[~self._verified[blocks]])
        runs = np.split(unread, np.flatnonzero(np.diff(unread) != 1) + 1) if len(unread) else []
        for run in runs:
            for first in range(0, len(run), _MOST_READ // BLOCK):
                part = run[first : first + _MOST_READ // BLOCK]
                start = int(part[0]) * BLOCK
                content = memoryview(self._read(start, min(start + len(part) * BLOCK, self.record.directory)))
                found = [zlib.crc32(content[at : at + BLOCK]) for at in range(0, len(part) * BLOCK, BLOCK)]
                if found != self._checksums[part].tolist():
                    raise self._damaged(f"its content is damaged (checksum, after byte {start})")
                self._verified[part] = True

    def _read(self, start: int, stop: int) -> bytes:
        try:
            return os.pread(self._descriptor, stop - start, start)
        except OSError as error:
            raise self._damaged(f"cannot be read ({error.strerror})") from error

    def _damaged(self, what: str) -> CorruptIndexError:
        return damaged(self.path, what)


def damaged(path: Path, what: str) -> CorruptIndexError:
    """The error for a file that is not what was written."""
    return CorruptIndexError(f"{path}: {what}; restore the index from a copy or build it anew")


def ranges(first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers of all first[i]:last[i], one range after the other."""
    lengths = last - first
    ends = np.cumsum(lengths)
    numbers: NDArray[np.int64] = np.arange(lengths.sum()) + np.repeat(first - ends + lengths, lengths)
    return numbers
