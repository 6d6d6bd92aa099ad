"""The few file-system calls that a commit is made of, in one place.

Everything the index writes goes through these functions, called as `durable.sync_file(...)`, so that a test can record
their order or make any of them fail. The order that makes a commit survive a crash: write and sync the segment's file
under a temporary name, rename it to its final one, sync the folder, and only then commit the SQLite transaction that
names the segment.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from saelex.errors import CorruptIndexError, SaelexError


def write_file(path: Path, parts: Iterable[memoryview]) -> None:
    """Write a new file out of parts and sync it; on an error nothing of it remains. What is there already stays."""
    with path.open("xb") as file:
        try:
            file.writelines(parts)
            file.flush()
            sync_file(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise


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
    """Give what is finished its final name, in one step."""
    source.rename(target)


def commit(connection: sqlite3.Connection) -> None:
    """End the SQLite transaction. What it holds is durable when this returns."""
    connection.commit()


def remove_file(path: Path) -> None:
    """Remove a segment that no commit names. A reader that has it mapped keeps it until it lets go."""
    path.unlink()


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
