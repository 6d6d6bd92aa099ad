"""Lines of text files, plain or gzipped, each with its number, so that a bad one can be named."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TypeVar, cast

from saelex.errors import InputError
from saelex.reading.regular import regular_file

Entry = TypeVar("Entry")


def suffix_of(path: Path) -> str:
    """The name's ending in lower case, that before `.gz` where the file is gzipped: `.jsonl` of `corpus.jsonl.gz`."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def open_bytes(path: Path) -> IO[bytes]:
    """The file for reading, unpacked where its name ends in `.gz`. Raises InputError where it cannot be opened."""
    regular_file(path)
    try:
        if path.suffix.lower() == ".gz":
            return cast(IO[bytes], gzip.open(path, "rb"))
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number, from 1, and text of every line that is not blank. Raises InputError as `numbered` does."""
    with open_bytes(path) as file:
        yield from numbered(file, str(path))


def numbered(file: IO[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Number and text of every line of an open file that is not blank, without the line's end.

    Decodes line by line, so that bytes that are not UTF-8 are an InputError with a line number, as a damaged gzip file
    is; `name` begins the message.
    """
    number = 0
    try:
        for number, raw in enumerate(file, start=1):
            if raw.strip():
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}:{number}: not UTF-8 (byte {error.start}): {error.reason}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{name}: damaged gzip file after line {number}: {error}") from error


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
