"""Whole files and remembered hashes."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from saelex import files
from saelex.errors import InputError, MismatchError
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


# ---- whole or not at all --------------------------------------------------------------------------------------------


def test_a_file_that_was_set_back_in_time_or_exchanged_is_hashed_again(tmp_path: Path) -> None:
    path, other = tmp_path / "weights", tmp_path / "other"
    path.write_bytes(b"first")
    assert files.sha256_of(path) == hashlib.sha256(b"first").hexdigest()
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(b"other")
    os.utime(path, ns=times)
    assert files.sha256_of(path) == hashlib.sha256(b"other").hexdigest()
    other.write_bytes(b"third")
    os.utime(other, ns=times)
    other.replace(path)
    assert files.sha256_of(path) == hashlib.sha256(b"third").hexdigest()
    with path.open("r+b") as file:
        file.write(b"forth")
    os.utime(path, ns=times)
    assert files.sha256_of(path) == hashlib.sha256(b"forth").hexdigest()


def test_a_file_that_changes_while_it_is_hashed_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"first")
    original = files._hash

    def hash_and_change(path: Path) -> str:
        found = original(path)
        path.write_bytes(b"longer")
        return found

    monkeypatch.setattr(files, "_hash", hash_and_change)
    files.sha256_of(path)
    monkeypatch.undo()
    monkeypatch.setenv("SAELEX_CACHE", str(tmp_path / "cache"))
    assert files.sha256_of(path) == hashlib.sha256(b"longer").hexdigest()


def test_a_wrong_memory_refuses_no_file(own_cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"data")
    right = files.sha256_of(path)
    cache = own_cache / "sha256.json"
    cache.write_text(cache.read_text().replace(right, "0" * 64))
    assert files.sha256_of(path) == "0" * 64  # it was remembered
    files.check_sha256(path, right, "config")
    with pytest.raises(MismatchError, match="sha256 differs"):
        files.check_sha256(path, "1" * 64, "config")


def test_neighbours_of_a_written_file_stay(tmp_path: Path) -> None:
    neighbours = [tmp_path / f".name.{end}" for end in (os.getpid(), "new", "tmp", "old")]
    for path in neighbours:
        path.write_text("mine")
    write_text(tmp_path / "name", ["x"])
    with files.replacing_folder(tmp_path / "folder") as made:
        (made / "a").write_text("x")
    assert all(path.read_text() == "mine" for path in neighbours)
    assert {path.name for path in tmp_path.iterdir()} == {"name", "folder", *(path.name for path in neighbours)}


def test_what_a_link_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk" / "folder").mkdir(parents=True)
    (tmp_path / "disk" / "folder" / "a").write_text("old")
    (tmp_path / "disk" / "file").write_text("old")
    (tmp_path / "folder").symlink_to(tmp_path / "disk" / "folder")
    (tmp_path / "file").symlink_to(tmp_path / "disk" / "file")
    write_text(tmp_path / "file", ["new"])
    with files.replacing_folder(tmp_path / "folder") as made:
        (made / "a").write_text("new")
    assert (tmp_path / "folder").is_symlink() and (tmp_path / "file").is_symlink()
    assert (tmp_path / "disk" / "folder" / "a").read_text() == (tmp_path / "disk" / "file").read_text() == "new"


def test_others_in_a_folder_are_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "checkpoint-1" / "deep").mkdir(parents=True)
    (folder / "checkpoint-1" / "deep" / "state").write_text("state")
    (folder / "log").write_text("line\n")
    (folder / "a").write_text("old")
    with files.replacing_folder(folder, keep_others=True) as made:
        (made / "a").write_text("new")
    assert (folder / "a").read_text() == "new" and (folder / "log").read_text() == "line\n"
    assert (folder / "checkpoint-1" / "deep" / "state").read_text() == "state"


def test_a_new_folder_never_takes_the_place_of_one_that_holds_something(tmp_path: Path) -> None:
    with pytest.raises(OSError), files.making_folder(tmp_path / "new") as made:
        (made / "a").write_text("x")
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "mine").write_text("mine")
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "mine"]


WITHOUT_EXCHANGE = [False, True]
"""Whether the system lets two paths change places in one step."""


class StopError(OSError):
    """An injected failure."""


def _old_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    for name in ("a", "deep/b"):
        (folder / name).write_text("old")
    return folder


def _replace(folder: Path) -> None:
    with files.replacing_folder(folder) as made:
        (made / "deep").mkdir()
        for name in ("a", "deep/b"):
            (made / name).write_text("new")


def _content(folder: Path) -> set[str]:
    assert sorted(path.name for path in folder.rglob("*")) == ["a", "b", "deep"]
    return {path.read_text() for path in folder.rglob("*") if path.is_file()}


def _at_step(monkeypatch: pytest.MonkeyPatch, step: int, stop: Callable[[], None]) -> list[str]:
    """Call `stop` before the call of this number of all that make a folder durable or move it; lists the calls."""
    calls: list[str] = []

    def counting(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def counted(*args: Any, **options: Any) -> Any:
            calls.append(name)
            if len(calls) == step + 1:
                stop()
            return original(*args, **options)

        monkeypatch.setattr(owner, name, counted)

    for owner, name in ((os, "fsync"), (Path, "rename"), (files, "_exchange"), (shutil, "rmtree")):
        counting(owner, name)
    return calls


@pytest.mark.parametrize("without_exchange", WITHOUT_EXCHANGE)
def test_a_failure_anywhere_leaves_the_old_or_the_new_folder(
    without_exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise StopError("no space left on device")

    seen: set[str] = set()
    for step in range(40):
        folder = _old_folder(tmp_path / str(step))
        with monkeypatch.context() as patched:
            if without_exchange:
                patched.setattr(files, "_exchange", lambda one, other: False)
            calls = _at_step(patched, step, fail)
            with suppress(StopError):
                _replace(folder)
        content = _content(folder)
        assert len(content) == 1
        seen |= content
        if len(calls) <= step:
            break
        if calls[step] != "rmtree":  # removing what was replaced may fail, and leaves it then
            assert [path.name for path in folder.parent.iterdir()] == ["model"]
    else:
        raise AssertionError("more steps than thought")
    assert seen == {"old", "new"} and {"fsync", "rmtree"} <= set(calls)


@pytest.mark.parametrize("without_exchange", WITHOUT_EXCHANGE)
def test_a_kill_anywhere_leaves_the_old_or_the_new_folder(
    without_exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()
    for step in range(40):
        folder = _old_folder(tmp_path / str(step))
        child = os.fork()
        if not child:
            if without_exchange:
                files._exchange = lambda one, other: False
            _at_step(monkeypatch, step, lambda: os.kill(os.getpid(), signal.SIGKILL))
            _replace(folder)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        files.recover_folder(folder)
        content = _content(folder)
        assert len(content) == 1
        seen |= content
        _replace(folder)  # and what was left behind is in nobody's way
        assert _content(folder) == {"new"}
        if not os.WIFSIGNALED(status):
            break
    else:
        raise AssertionError("more steps than thought")
    assert seen == {"old", "new"}


def test_recovery_touches_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".model-mine" / "old").mkdir(parents=True)
    (tmp_path / ".model-mine" / "old" / "a").write_text("mine")
    files.recover_folder(tmp_path / "model")
    assert not (tmp_path / "model").exists() and (tmp_path / ".model-mine" / "old" / "a").exists()


def test_a_work_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    files.check_own(tmp_path / "none", "mark")
    (tmp_path / "run").mkdir()
    files.check_own(tmp_path / "run", "mark")
    (tmp_path / "run" / "thesis.txt").write_text("one")
    with pytest.raises(InputError, match="holds something else"):
        files.check_own(tmp_path / "run", "mark")
    (tmp_path / "run" / "mark").write_text("")
    files.check_own(tmp_path / "run", "mark")


# ---- paths ----------------------------------------------------------------------------------------------------------


def test_home_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.expanded("~/a") == tmp_path / "a" and files.expanded(Path("~")) == tmp_path
    assert files.expanded("~nobody-of-that-name/a") == Path("~nobody-of-that-name/a")
    for no_path in (None, ["a"], {"a": 1}, b"a", 5):
        with pytest.raises(InputError, match="a path is a text or"):
            files.expanded(no_path)  # type: ignore[arg-type]
    assert files.expanded_text("owner/name") == "owner/name" and files.expanded_text("~/a:test") == f"{tmp_path}/a:test"
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert files.local_or_name("model") == files.local_or_name("~/model") == str(tmp_path / "model")
    assert files.local_or_name("owner/name") == "owner/name"
    write_text(Path("~/text"), ["x"])
    assert (tmp_path / "text").read_text() == "x"
