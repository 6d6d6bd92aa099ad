"""What a model's folder records of the data that it was trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from saelex.files import sha256_of

# Hashing reads the file: seconds a gigabyte. Beyond this, the size tells one file from another.
_HASHED_BYTES = 4 << 30


def fingerprint(files: Iterable[Path]) -> dict[str, str | int]:
    """Size of the files and, where they are not too large to read for it, one SHA-256 over the names and hashes."""
    listed = sorted(files)
    size = sum(file.stat().st_size for file in listed)
    if size > _HASHED_BYTES:
        return {"bytes": size}
    if len(listed) == 1:
        return {"bytes": size, "sha256": sha256_of(listed[0])}
    joined = "".join(f"{file.name} {sha256_of(file)}\n" for file in listed)
    return {"bytes": size, "sha256": hashlib.sha256(joined.encode()).hexdigest()}
