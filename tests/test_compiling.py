"""Compiled functions where no cache can be read or written."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numba
import pytest
from numba import types
from numba.core import caching

from saelex.compiling import njit


def _twice(x: int) -> int:
    return 2 * x


def test_no_place_for_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    with pytest.raises(RuntimeError, match="no locator"):
        numba.njit(cache=True)(_twice)
    assert njit()(_twice)(4) == 8
    assert njit(types.int64(types.int64))(_twice)(4) == 8


@pytest.mark.parametrize("signatures", [(), (types.int64(types.int64),)])
def test_a_full_disk_and_a_damaged_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, signatures: tuple[Any, ...]
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert njit(*signatures)(_twice)(4) == 8
    files = list(tmp_path.rglob("*.nb?"))
    assert {file.suffix for file in files} == {".nbi", ".nbc"}
    for file in files:
        file.write_bytes(file.read_bytes()[:-9])
    attempts = []

    def full(*arguments: Any) -> None:
        attempts.append(arguments)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(caching.IndexDataCacheFile, "save", full)
    assert njit(*signatures)(_twice)(4) == 8
    assert attempts
