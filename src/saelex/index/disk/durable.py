"""The few file-system calls that a commit is made of, in one place.

Everything the index writes goes through these functions, called as `durable.sync_file(...)`, so that a test can record
their order or make any of them fail. The order that makes a commit survive a crash: write and sync every file of the
segment, sync its folder, rename the folder to its final name, sync the folder above, and only then commit the SQLite
transaction that names the segment.
"""

from __future__ import annotations

import io
import os
import sqlite3
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.errors import CorruptIndexError, SaelexError

_CHUNK = 1 << 24


class FileRecord(NamedTuple):
    """What a file must look like when it is opened again."""

    size: int  # bytes
    checksum: int  # crc32 of the content
    modified: int  # nanoseconds; tells a file that nobody touched since it was written


def write_array(path: Path, array: NDArray[Any]) -> FileRecord:
    """Write an array as `.npy` and sync the file."""
    contiguous = np.ascontiguousarray(array)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(contiguous))
    content = contiguous.view(np.uint8).data if contiguous.size else b""
    with path.open("wb") as file:
        file.write(header.getbuffer())
        file.write(content)
        file.flush()
        sync_file(file.fileno())
        status = os.fstat(file.fileno())
    return FileRecord(status.st_size, zlib.crc32(content, zlib.crc32(header.getbuffer())), status.st_mtime_ns)


def sync_file(descriptor: int) -> None:
    """Wait until the file's content is on the disk."""
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until the folder's entries are on the disk: without it a rename can vanish in a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """A new folder; its parent exists."""
    folder.mkdir()


def rename(source: Path, target: Path) -> None:
    """Give the finished folder its final name, in one step."""
    source.rename(target)


def commit(connection: sqlite3.Connection) -> None:
    """End the SQLite transaction. What it holds is durable when this returns."""
    connection.commit()


def remove_folder(folder: Path) -> None:
    """Remove a folder of plain files; whatever else is in it stays, and it with it, as an OSError.

    A reader that has its files mapped keeps them until it lets go.
    """
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def check_own(path: Path) -> None:
    """Raises CorruptIndexError for a symbolic link: what it points at is somebody else's, to be left alone."""
    if path.is_symlink():
        raise CorruptIndexError(
            f"{path}: is a symbolic link; an index keeps its files in one folder, and a link may lead to that only"
        )


def check_alone(path: Path) -> None:
    """Raises SaelexError for a file that is to be changed in place and is another folder's as well, by a hard link."""
    if path.stat().st_nlink > 1:
        raise SaelexError(
            f"{path}: has another name elsewhere (a hard link, as `cp -l` makes), which would change with it; "
            "copy the index to write to it"
        )


def checksum(path: Path) -> int:
    """crc32 of a file, read in pieces: about 1 GB/s."""
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return value
