"""Files and folders written whole or not at all, and costly facts about files, kept in the user's cache folder."""

from __future__ import annotations

import ctypes
import errno
import gzip
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from saelex.errors import InputError, MismatchError

_OLD = "old"
_REPLACED = "replaces"
_TICK = 0.02  # seconds; the coarsest clock that a local file system stamps files with ticks every 10 ms


# ---- paths ----------------------------------------------------------------------------------------------------------


def expanded(path: str | Path) -> Path:
    """The path with `~` and `~user` as home folders: what every path that a user gives goes through.

    Raises InputError for what is no path, such as a NUL in it.
    """
    if "\0" in str(path):
        raise InputError(f"{str(path)!r}: no path, it holds a NUL character")
    try:
        return Path(path).expanduser()
    except RuntimeError:  # nobody of that name
        return Path(path)
    except TypeError as error:
        raise InputError(f"a path is a text or a pathlib.Path, not {path!r:.60}") from error


def expanded_text(source: str) -> str:
    """The same of what may be a path or a name, such as a hub id: another text only where it begins with `~`."""
    return str(expanded(source)) if source.startswith("~") else source


def absolute(path: str | Path) -> Path:
    """The expanded path from the root, links in it kept: it means the same from every working folder."""
    return expanded(path).absolute()


def _behind_links(path: str | Path) -> Path:
    # unlike Path.resolve, this leaves links in a circle, which lead nowhere, as they are
    return Path(os.path.realpath(expanded(path)))


def local_or_name(source: str | Path) -> str:
    """The absolute path of a folder or file that is there; anything else, such as a hub id, as it was given."""
    path = absolute(source)
    return str(path) if path.exists() else str(source)


# ---- writing --------------------------------------------------------------------------------------------------------


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises InputError naming `path` where the operating system says that it cannot be written."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write a file at; synced and renamed to `path` when the block ends, removed when it fails.

    A kill or a power cut at any moment leaves the old file or the new one. A link keeps pointing where it points: the
    file there is replaced.
    """
    target = _behind_links(path)
    with _scratch(target) as scratch:
        temporary = scratch / target.name
        yield temporary
        sync(temporary)
        temporary.replace(target)
    sync(target.parent)


@contextmanager
def making_folder(folder: Path) -> Iterator[Path]:
    """A folder to write in; synced and renamed to `folder` when the block ends, removed when it fails.

    Raises OSError where `folder` holds something by then.
    """
    target = _behind_links(folder)
    with _folder_for(target) as made:
        yield made
        _sync_all(made)
        made.rename(target)  # over an empty folder, too
    sync(target.parent)


@contextmanager
def replacing_folder(folder: Path, *, keep_others: bool = False) -> Iterator[Path]:
    """A folder to write in; it takes the place of `folder`, synced, when the block ends, and is removed when it fails.

    keep_others: what `folder` holds under other names than those written stays.

    Old and new change places in one step where the system can do that. Elsewhere the old one steps aside for a moment;
    if the process is killed just then, `recover_folder` puts it back. A link keeps pointing where it points.
    """
    target = _behind_links(folder)
    with _folder_for(target) as made:
        yield made
        if keep_others and target.is_dir():
            _link_others(target, made)
        _sync_all(made)
        _put_in_place(made, target, made.parent)
        sync(target.parent)  # before the old one is removed


def recover_folder(folder: Path) -> None:
    """Put back a folder that `replacing_folder` had moved aside when its process was killed. Touches nothing else."""
    target = _behind_links(folder)
    if target.exists() or not target.parent.is_dir():
        return
    for scratch in sorted(target.parent.glob(f"{_prefix(target)}*")):
        with suppress(OSError):
            if (scratch / _REPLACED).read_text(encoding="utf-8") == target.name:
                (scratch / _OLD).rename(target)
                shutil.rmtree(scratch, ignore_errors=True)
                return


def check_own(folder: Path, mark: str) -> None:
    """Raises InputError for a folder that holds something, but not the file by which a work folder of ours is known."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    foreign = mark not in names and any(not name.startswith(".") for name in names)  # hidden ones: a kill's leftovers
    if foreign or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{folder}: is needed for work in progress, and holds something else; move that away")


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk: without it a power cut may take them."""
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return  # Windows keeps a folder's entries itself
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_all(folder: Path) -> None:
    for path in folder.rglob("*"):
        if not path.is_symlink():
            sync(path)
    sync(folder)


def _prefix(target: Path) -> str:
    return f".{target.name[:80]}-"  # a name has 255 bytes at most


@contextmanager
def _folder_for(target: Path) -> Iterator[Path]:
    """A new folder, in a scratch one beside the target, to be written and then put in the target's place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with _scratch(target) as scratch:
        made = scratch / "new"
        made.mkdir()
        yield made


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """A new folder beside the target, under a name that nobody has; removed at the end, but for an old folder that
    could not be put back."""
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=_prefix(target)))
    try:
        yield scratch
    finally:
        if not (scratch / _OLD).exists() or target.exists():
            shutil.rmtree(scratch, ignore_errors=True)


def _put_in_place(made: Path, target: Path, scratch: Path) -> None:
    if not target.exists():
        made.rename(target)
    elif not _exchange(made, target):
        (scratch / _REPLACED).write_text(target.name, encoding="utf-8")
        sync(scratch / _REPLACED)
        sync(scratch)
        target.rename(scratch / _OLD)
        try:
            made.rename(target)
        except BaseException:
            (scratch / _OLD).rename(target)
            raise


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths change places in one step; False where system or file system cannot."""
    libc: Any = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    if hasattr(libc, "renameat2"):  # Linux; 2 is RENAME_EXCHANGE, -100 the working folder
        failed = libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2)
    elif hasattr(libc, "renamex_np"):  # macOS; 2 is RENAME_SWAP
        failed = libc.renamex_np(os.fsencode(one), os.fsencode(other), 2)
    else:
        return False
    number = ctypes.get_errno()
    if failed and number not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM):
        raise OSError(number, os.strerror(number), str(other))
    return not failed


def _link_others(source: Path, made: Path) -> None:
    """Give `made` what it does not hold of the files below `source`, as second names of the same files."""
    for path in source.iterdir():
        there = made / path.name
        if there.exists() or there.is_symlink():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, there, symlinks=True, copy_function=_link)
        else:
            _link(path, there)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # a file system without links
        shutil.copy2(source, target, follow_symlinks=False)


def write_text(path: Path, content: Iterable[str]) -> None:
    """Write the pieces of text to a file, whole or not at all, gzipped where its name ends in `.gz`.

    Raises InputError when it cannot be written.
    """
    with writing(path), replacing(path) as temporary, temporary.open("wb") as raw:
        packed = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if path.suffix == ".gz" else nullcontext(raw)
        with packed as file, io.TextIOWrapper(file, encoding="utf-8", newline="\n") as text:
            text.writelines(content)


# ---- reading and remembering -----------------------------------------------------------------------------------------


def cache_folder() -> Path:
    """Where this user's caches belong: `$SAELEX_CACHE`, or `saelex` in the operating system's cache folder."""
    if own := os.environ.get("SAELEX_CACHE"):
        return expanded(own)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "saelex"


def sha256_of(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes, remembered as `fact_of` does: asking again for gigabytes costs a `stat`."""
    path = Path(path)
    return fact_of(path, "sha256", lambda: _hash(path))


def check_sha256(path: Path, expected: str, belongs: str) -> None:
    """Raises InputError where the file is missing, MismatchError where it is another one than `belongs` was made with.

    What is remembered never refuses a file: one that seems to be another one is hashed anew.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing; fetch or save the model again")
    if expected != sha256_of(path) and expected != _hash(path):
        raise MismatchError(
            f"{path} is not the file that {belongs} was written with (sha256 differs); fetch or save the model again"
        )


def fact_of(path: str | Path, name: str, compute: Callable[[], str]) -> str:
    """A fact that follows from a file's bytes alone, such as their hash, computed once.

    It is remembered with the file's `state_of`: `touch` and `rsync -t` set one time back, but not the other. A cache
    that cannot be read or written only costs the time of computing again.
    """
    path = Path(path).resolve()
    # a change within the clock's tick would leave the same times behind
    while abs(age := time.time() - path.stat().st_ctime) < _TICK:
        time.sleep(_TICK - abs(age))
    state = state_of(path)
    entry = _remembered().get(str(path))
    facts = entry.get("facts") if isinstance(entry, dict) and entry.get("state") == state else None
    facts = facts if isinstance(facts, dict) else {}
    if not isinstance(facts.get(name), str):
        facts = {**facts, name: compute()}
        if state_of(path) == state:
            _remember(str(path), {"state": state, "facts": facts})
    return str(facts[name])


def state_of(path: Path) -> list[int]:
    """What is another after every change of a file: device, number, size, times of change of content and of state."""
    status = path.stat()
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _remembered() -> dict[str, Any]:
    try:
        cache = json.loads((cache_folder() / "sha256.json").read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return cache if isinstance(cache, dict) else {}


def _remember(path: str, entry: dict[str, Any]) -> None:
    # Two processes may write at once: one entry is then lost and computed again, the file itself is always whole.
    with suppress(OSError, ValueError):
        cache = {known: state for known, state in _remembered().items() if Path(known).exists()} | {path: entry}
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch:  # goes even when the disk is full
            whole = Path(scratch) / "sha256.json"
            whole.write_text(json.dumps(cache))
            whole.replace(cache_folder() / whole.name)
