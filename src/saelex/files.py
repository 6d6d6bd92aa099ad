"""Files written whole or not at all, and facts about files that are costly to compute, in the user's cache folder."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from saelex.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file at; synced and renamed when the block ends, removed when it fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk: a power cut undoes neither then."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, content: Iterable[str]) -> None:
    """Write the pieces of text to a file, whole or not at all, gzipped where its name ends in `.gz`.

    Raises InputError when it cannot be written.
    """
    try:
        with replacing(path) as temporary, temporary.open("wb") as raw:
            packed = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if path.suffix == ".gz" else nullcontext(raw)
            with packed as file, io.TextIOWrapper(file, encoding="utf-8", newline="\n") as text:
                text.writelines(content)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises InputError naming the file where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable JSON ({error}); fetch the file again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a JSON object; fetch the file again")
    return content


def cache_folder() -> Path:
    """Where this user's caches belong: `$SAELEX_CACHE`, or `saelex` in the operating system's cache folder."""
    if own := os.environ.get("SAELEX_CACHE"):
        return Path(own)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "saelex"


def sha256_of(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes.

    The answer is remembered by absolute path, size and modification time (nanoseconds), so that asking again for
    gigabytes of weights costs a `stat`. A cache that cannot be read or written only costs the time of hashing again.
    """
    path = Path(path).resolve()
    status = path.stat()
    state = [status.st_size, status.st_mtime_ns]
    remembered = _remembered().get(str(path))
    if isinstance(remembered, dict) and remembered.get("state") == state:
        return str(remembered["sha256"])
    digest = _hash(path)
    _remember(str(path), {"state": state, "sha256": digest})
    return digest


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _remembered() -> dict[str, Any]:
    try:
        cache = json.loads((cache_folder() / "sha256.json").read_text())
    except (OSError, ValueError):
        return {}
    return cache if isinstance(cache, dict) else {}


def _remember(path: str, entry: dict[str, Any]) -> None:
    # Two processes may write at once: one entry is then lost and computed again, the file itself is always whole.
    cache = {known: state for known, state in _remembered().items() if Path(known).exists()} | {path: entry}
    with suppress(OSError):
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch:  # goes even when the disk is full
            whole = Path(scratch) / "sha256.json"
            whole.write_text(json.dumps(cache))
            whole.replace(cache_folder() / whole.name)
