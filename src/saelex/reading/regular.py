"""What every reader begins with: the file is a regular one, and whatever its parser raises becomes one InputError."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from saelex.errors import InputError, SaelexError

_PANIC = "PanicException"  # of parsers written in Rust: no Exception, and a class of its own for each of them


def regular_file(path: Path) -> Path:
    """The path, where a regular file lies: opening a pipe would wait for ever, and a device has no end.

    Raises InputError for anything else, and for a file that is not there.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        if isinstance(error, FileNotFoundError):
            raise InputError(f"{path}: no such file; fetch what is missing") from error
        raise InputError(f"{path}: cannot be read ({reason_of(error)}); fetch it again") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise InputError(f"{path}: {kind}, not a regular file; give the file itself")
    return path


def is_folder(name: str | Path) -> bool:
    """Whether a folder of this name is here; a name that no file can have is none, where `Path.is_dir` may raise."""
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):
        return False


def is_here(name: str | Path) -> bool:
    """Whether there is anything of this name; a name that no file can have names nothing."""
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False


def is_listed(path: Path) -> bool:
    """Whether the folder has this name, a link to nothing included: what is there is read or refused."""
    return os.path.lexists(path)  # False for a name that no file can have, where `Path.is_symlink` raises


@contextmanager
def one_error(path: str | Path, what: str, remedy: str = "fetch it again") -> Iterator[None]:
    """Around a parser: whatever it raises is an InputError that says that the file is not `what`.

    Parsers that are not ours raise what they like at damage (tokenizers: Exception itself), so nothing less than all is
    named here. Keep the block to the parser's own call: an error of ours must not pass for the file's.
    """
    try:
        yield
    except SaelexError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
            raise
        raise InputError(f"{path} is damaged, or not {what} ({reason_of(error)}); {remedy}") from error


def reason_of(error: BaseException) -> str:
    """The first line of an error's message, or its kind where there is none."""
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__


def file_within(folder: Path, name: str, where: str) -> Path:
    """A file of the folder that one of its other files names. Raises InputError for a name that leads elsewhere.

    where: what names it, for the message.
    """
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or any(character in name for character in "\\\0"):
        raise InputError(f"{where}: names {name!r:.80}, which is no file of its own folder; fetch it again")
    return folder.joinpath(*parts)
