"""Text files of any size whose lines are read by their place, and what was found in them, remembered."""

from __future__ import annotations

import gzip
import hashlib
import json
import mmap
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from saelex.corpus.lines import max_record, too_large
from saelex.errors import InputError
from saelex.files import cache_folder, expanded, replacing, state_of
from saelex.progress import progress_bar
from saelex.reading.arrays import read_npy
from saelex.reading.regular import regular_file


class Line(NamedTuple):
    """A line, its number from 1, and the byte at which it begins."""

    number: int
    offset: int
    text: str


class LineFile:
    """A UTF-8 file, read through a memory map; a .gz is unpacked to a temporary file that goes with the object.

    Raises InputError where the file is missing, empty, no gzip, or, when read, not UTF-8.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = regular_file(expanded(path))
        try:
            with self._plain() as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(f"{self.path}: damaged gzip file: {error}") from error
        except ValueError as error:
            raise InputError(f"{self.path}: the file is empty") from error
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read: {error.strerror or error}") from error

    def lines(self, *, progress: bool = False) -> Iterator[Line]:
        """All lines that are not blank."""
        number, offset = 0, 0
        with progress_bar(
            total=len(self._bytes), desc=self.path.name, unit="B", unit_scale=True, shown=progress
        ) as bar:
            while offset < len(self._bytes):
                raw = self._raw(offset)
                number += 1
                if raw.strip():
                    yield Line(number, offset, self._text(raw, offset, number))
                offset += len(raw)
                bar.update(len(raw))

    def at(self, offset: int) -> str:
        """The line that begins at a byte."""
        return self._text(self._raw(offset), offset, None)

    def where(self, offset: int) -> str:
        """file:line of the line that begins at a byte."""
        before = self._bytes[:offset].count(b"\n")
        return f"{self.path}:{before + 1}"

    def remembered(self, purpose: Mapping[str, Any], find: Callable[[], NDArray[np.int64]]) -> NDArray[np.int64]:
        """What `find` found in this file, for a purpose, when it was last asked; see `remembered_array`."""
        return remembered_array(self.path, purpose, find)

    def _plain(self) -> IO[bytes]:
        if self.path.suffix.lower() != ".gz":
            return self.path.open("rb")
        unpacked = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        with gzip.open(self.path, "rb") as packed:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
        unpacked.flush()
        return cast(IO[bytes], unpacked)

    def _raw(self, offset: int) -> bytes:
        end = self._bytes.find(b"\n", offset) + 1 or len(self._bytes)
        if end - offset > max_record():
            raise too_large(self.where(offset), "a line")
        return self._bytes[offset:end]

    def _text(self, raw: bytes, offset: int, number: int | None) -> str:
        try:
            return raw.decode("utf-8-sig" if not offset else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            where = self.where(offset) if number is None else f"{self.path}:{number}"
            raise InputError(f"{where}: not UTF-8 (byte {error.start}): {error.reason}") from error


def remembered_array(
    path: Path, purpose: Mapping[str, Any], find: Callable[[], NDArray[np.int64]]
) -> NDArray[np.int64]:
    """An array that is costly to compute from a file, kept in the user's cache folder for as long as it is the file.

    purpose: JSON values that tell this array from others of the same file. The file is known by its path and
    `state_of`. A cache that cannot be read or written costs the time of computing again, nothing else.
    """
    path = path.resolve()
    which = hashlib.sha256(json.dumps([str(path), purpose], sort_keys=True).encode()).hexdigest()[:24]
    folder = cache_folder() / "lines"
    state = hashlib.sha256(json.dumps(state_of(path)).encode()).hexdigest()[:24]
    kept = folder / f"{which}-{state}.npy"
    with suppress(InputError):
        return read_npy(kept, mmap=True)
    found = find()
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as temporary, temporary.open("wb") as file:
            np.save(file, found)
        for older in folder.glob(f"{which}-*.npy"):
            if older != kept:
                older.unlink()
    return found
