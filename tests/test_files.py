"""Whole files and remembered hashes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from saelex import files
from saelex.errors import InputError
from saelex.files import write_text


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("SAELEX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_hash_is_remembered_until_the_file_changes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"first")
    assert files.sha256_of(path) == hashlib.sha256(b"first").hexdigest()

    hashed: list[Path] = []
    original = files._hash
    monkeypatch.setattr(files, "_hash", lambda path: hashed.append(path) or original(path))
    assert files.sha256_of(str(path)) == hashlib.sha256(b"first").hexdigest() and not hashed

    path.write_bytes(b"other")  # same size
    os.utime(path, ns=(1, 1))
    assert files.sha256_of(path) == hashlib.sha256(b"other").hexdigest() and len(hashed) == 1


def test_forgets_files_that_are_gone(own_cache: Path, tmp_path: Path) -> None:
    gone, kept = tmp_path / "gone", tmp_path / "kept"
    gone.write_bytes(b"x")
    files.sha256_of(gone)
    gone.unlink()
    kept.write_bytes(b"y")
    files.sha256_of(kept)
    assert str(gone) not in (own_cache / "sha256.json").read_text()
    assert [path.name for path in own_cache.iterdir()] == ["sha256.json"]  # no temporary file left


@pytest.mark.parametrize("damage", ["", "[1, 2]", '{"/x": 3', '{"/x": 3}'])
def test_damaged_cache_is_computed_again(damage: str, own_cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"data")
    own_cache.mkdir()
    (own_cache / "sha256.json").write_text(damage)
    assert files.sha256_of(path) == files.sha256_of(path) == hashlib.sha256(b"data").hexdigest()


def test_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"data")
    monkeypatch.setenv("SAELEX_CACHE", str(path / "below-a-file"))
    assert files.sha256_of(path) == hashlib.sha256(b"data").hexdigest()


def test_writing_into_a_missing_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no/file\.jsonl: cannot be written: No such file"):
        write_text(tmp_path / "no" / "file.jsonl", ["x"])
