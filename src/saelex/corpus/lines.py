"""Text files, plain or gzipped, whole or line by line, each line with its number, so that a bad one can be named.

One bound holds for all of them: a line, a row of a table, or a file that is one document has at most 16 MiB when it is
unpacked (`MAX_RECORD_MB`). Beyond it stands an error before the memory is spent: a gzip file of 0.3 MB can hold a line
of gigabytes. Files as a whole may be of any size.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar, cast

from saelex.errors import InputError
from saelex.reading.regular import regular_file

Entry = TypeVar("Entry")

MAX_RECORD_MB = "SAELEX_MAX_RECORD_MB"
"""The environment variable that sets the bound, in MiB."""


def max_record() -> int:
    """Bytes that one line, row or document may have. Raises InputError where `$SAELEX_MAX_RECORD_MB` is no size."""
    megabytes = os.environ.get(MAX_RECORD_MB) or "16"
    if not (megabytes.isascii() and megabytes.isdecimal() and 0 < int(megabytes[:9]) < 1 << 20):
        raise InputError(f"{MAX_RECORD_MB} is a whole number of MiB from 1 to {(1 << 20) - 1}, not {megabytes!r:.40}")
    return int(megabytes) << 20


def too_large(where: str, what: str) -> InputError:
    """The error for what is beyond `max_record`."""
    return InputError(f"{where}: {what} of more than {max_record() >> 20} MiB; split it, or set {MAX_RECORD_MB}")


def suffix_of(path: Path) -> str:
    """The name's ending in lower case, that before `.gz` where the file is gzipped: `.jsonl` of `corpus.jsonl.gz`."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def open_bytes(path: Path) -> IO[bytes]:
    """The file for reading, unpacked where its name ends in `.gz`.

    Raises InputError where it cannot be opened, and for a folder, a pipe or a device, which may never end.
    """
    regular_file(path)
    try:
        if path.suffix.lower() == ".gz":
            return cast(IO[bytes], gzip.open(path, "rb"))
        return path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def read_whole(path: Path) -> bytes:
    """All of a file that is one document. Raises InputError where it cannot be read or is beyond `max_record`."""
    with open_bytes(path) as file, _readable(str(path)):
        content = file.read(max_record() + 1)
    if len(content) > max_record():
        raise too_large(str(path), "a document")
    return content


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number, from 1, and text of every line that is not blank. Raises InputError as `raw_lines` does."""
    with open_bytes(path) as file:
        yield from numbered(file, str(path))


def numbered(file: IO[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Number and text of every line of an open file that is not blank, without the line's end; see `raw_lines`."""
    for number, line in raw_lines(file, name):
        if line.strip():
            yield number, line.rstrip("\r\n")


def raw_lines(file: IO[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Number and text of every line of an open file, with the line's end.

    Decodes line by line, so that bytes that are not UTF-8 are an InputError with a line number, as a line beyond
    `max_record` and a damaged gzip file are; `name` begins the message.
    """
    number, most = 0, max_record()
    while True:
        with _readable(name, number):
            raw = file.readline(most + 1)
        if not raw:
            return
        number += 1
        if len(raw) > most:
            raise too_large(f"{name}:{number}", "a line")
        try:
            yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{name}:{number}: not UTF-8 (byte {error.start}): {error.reason}") from error


@contextmanager
def _readable(name: str, number: int | None = None) -> Iterator[None]:
    """InputError for what goes wrong while a file is read, after line `number` where it is read by lines."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        after = "" if number is None else f" after line {number}"
        raise InputError(f"{name}: damaged gzip file{after}: {error}") from error
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror or error}") from error


def unique(entries: Iterable[tuple[str, Entry]], key: Callable[[Entry], str], noun: str) -> Iterator[Entry]:
    """The entries of (where, entry) pairs; `where`, such as file:line, begins the InputError for a second of one key.

    Remembers every key: some 100 bytes each.
    """
    seen: set[str] = set()
    for where, entry in entries:
        if key(entry) in seen:
            raise InputError(f"{where}: a second {noun} with the id {key(entry)!r}; ids must be unique")
        seen.add(key(entry))
        yield entry
