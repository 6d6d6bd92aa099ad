"""The order of a commit's file-system calls, and what happens when any one of them fails."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.index.fakes import FakeEncoder, make_documents

from saelex.corpus.documents import Document
from saelex.errors import SaelexError
from saelex.index.disk import durable
from saelex.index.index import Index

CALLS = ("write_file", "sync_file", "sync_folder", "make_folder", "rename", "commit", "remove_file")
Operation = Callable[[Index], Any]

OPERATIONS: dict[str, Operation] = {
    "add": lambda index: index.add(make_documents(6, start=100)),
    "update": lambda index: index.update([Document("d1", "New text with turbines."), Document("e1", "More.")]),
    "delete": lambda index: index.delete(["d0", "d5"]),
    "merge": lambda index: index.merge(),
}


def watch(monkeypatch: pytest.MonkeyPatch, before: Callable[[str, tuple[Any, ...]], None]) -> None:
    """Call `before` ahead of every durable file-system call."""

    def watched(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            before(name, arguments)
            return original(*arguments)

        return call

    for name in CALLS:
        monkeypatch.setattr(durable, name, watched(name, getattr(durable, name)))


def two_segments(path: Path) -> Index:
    index = Index.create(path, FakeEncoder())
    index.add(make_documents(8))
    index.add(make_documents(4, start=8))
    index.delete(["d9"])
    return index


def state(index: Index) -> dict[str, str]:
    """Every document by id; each is found by its own word."""
    with index._storage.catalog.reading():
        names = [name for _, name in index._storage.catalog.ids()]
    documents = {name: index.document(name).text for name in names}
    for name, text in documents.items():
        assert name in [hit.id for hit in index.search(text.split()[0], k=30)]
    report = index.check()
    assert report.ok and report.documents == len(index) == len(names), str(report)
    return documents


@pytest.mark.parametrize("name", ["add", "update", "merge"])
def test_files_are_durable_before_the_commit_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    events: list[tuple[str, Any]] = []

    def record(call: str, arguments: tuple[Any, ...]) -> None:
        target = arguments[0]
        if call == "sync_file":
            target = Path(f"/proc/self/fd/{target}").readlink()
        if isinstance(target, sqlite3.Connection):
            target = "catalogue"
        events.append((call, target))

    with two_segments(tmp_path / "i") as index:
        folder = (tmp_path / "i" / "segments").resolve()
        names = {entry.name for entry in folder.iterdir()}
        watch(monkeypatch, record)
        OPERATIONS[name](index)
        made = {entry.name for entry in folder.iterdir()} - names
        # an update that moves the mean length of passages makes the words of all segments anew
        assert len(made) == (3 if name == "update" else 1)
        temporaries = {folder / f".{one}.tmp" for one in made}
        numbers = sorted(int(one.removesuffix(".segment")) for one in made)
        announced = {folder / f".{numbers[0]}-{numbers[-1]}.segments.tmp"} if len(made) > 1 else set()
        written = {target for call, target in events if call == "write_file"}
        assert written == temporaries | announced
    at = {event: i for i, event in enumerate(events)}
    for temporary in temporaries:
        steps = [
            at["write_file", temporary],
            at["sync_file", temporary],  # and only then does it get its final name
            at["rename", temporary],
            events.index(("sync_folder", folder), at["rename", temporary]),
            at["commit", "catalogue"],
        ]
        assert steps == sorted(steps)
    for announcement in announced:  # durable before the first segment has its name, and removed as the last one
        renames = [i for i, (call, _) in enumerate(events) if call == "rename"]
        assert at["sync_file", announcement] < events.index(("sync_folder", folder)) < min(renames)
        assert events[-1] == ("remove_file", announcement) and events[-2] == ("sync_folder", folder)
    assert [call for call, _ in events].count("commit") == 1
    removals = [i for i, (call, _) in enumerate(events) if call == "remove_file"]
    assert all(i > at["commit", "catalogue"] for i in removals)
    assert len(removals) == {"add": 0, "update": 2 + 1, "merge": 2}[name]  # and the announcement


def test_the_catalogue_syncs_its_commits(tmp_path: Path) -> None:
    with two_segments(tmp_path / "i") as index, index._storage.catalog.reading() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (3,)  # EXTRA: FULL and the folder
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_any_failing_call_leaves_the_last_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with two_segments(tmp_path / "i") as index:
        before = state(index)
        for failing in range(1000):
            calls = 0

            def fail(call: str, arguments: tuple[Any, ...], failing: int = failing) -> None:
                nonlocal calls
                calls += 1
                if calls - 1 == failing:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            with monkeypatch.context() as patch:
                watch(patch, fail)
                try:
                    OPERATIONS[name](index)
                except SaelexError as error:
                    assert "No space left on device; the index is as it was at its last commit" in str(error)
                    assert "\n" not in str(error)
                else:
                    break  # from here on only the removal of old segments failed, or nothing
            if failing % 5 == 0:
                assert state(index) == before
                with Index.open(tmp_path / "i", FakeEncoder()) as reader:
                    assert state(reader) == before
        assert failing > 0
        after = state(index)
        assert (after == before) == (name == "merge")
        index.add([Document("last", "Canoes at last.")])  # what was left behind is reclaimed
        segments = {f"{segment.number}.segment" for segment in index._storage.snapshot.segments}
        assert {entry.name for entry in (tmp_path / "i" / "segments").iterdir()} == {*segments, "owner"}
        assert state(index) == {**after, "last": "Canoes at last."}


def test_creation_is_whole_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for failing in range(10):
        calls = 0

        def fail(call: str, arguments: tuple[Any, ...], failing: int = failing) -> None:
            nonlocal calls
            calls += 1
            if calls - 1 == failing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            watch(patch, fail)
            try:
                Index.create(tmp_path / "i", FakeEncoder()).close()
            except SaelexError:
                assert not any(entry.name.startswith(".") for entry in tmp_path.iterdir())
            else:
                break
        if (tmp_path / "i").exists():  # the last call, that syncs the folder above, had failed
            Index.open(tmp_path / "i").close()
            break
    assert failing > 2


def test_only_one_writer(tmp_path: Path) -> None:
    with two_segments(tmp_path / "i") as index, Index.open(tmp_path / "i", FakeEncoder()) as other:
        with index._storage.writing(), pytest.raises(SaelexError, match="another process is writing"):
            other.add(make_documents(1, start=50))
        other.add(make_documents(1, start=50))
        index.add(make_documents(1, start=60))
        assert len(index) == len(other) == 13


def test_a_disk_that_is_full_at_the_start_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def small(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA max_page_count = 3")  # SQLite then says what it says of a full disk
        return connection

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", small)
        with pytest.raises(SaelexError, match="full"):
            Index.create(tmp_path / "i", FakeEncoder())
    assert not any(tmp_path.iterdir())
    Index.create(tmp_path / "i", FakeEncoder()).close()
