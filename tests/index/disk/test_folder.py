"""An index's folder among a user's files: links, foreign entries, old copies, several creators, forked processes."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tests.index.fakes import FakeEncoder, make_documents, random_rows

from saelex.concepts.concept import Concept
from saelex.concepts.store import ConceptStore
from saelex.corpus.documents import Document
from saelex.errors import CorruptIndexError, InputError, SaelexError
from saelex.index.disk import durable, storage
from saelex.index.disk.catalog import SEGMENTS, Catalog
from saelex.index.disk.lock import writer_lock
from saelex.index.index import Index
from saelex.index.inverted import InvertedIndex


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Index.create(tmp_path / "i", FakeEncoder(), words=False) as index:  # else a commit may make all segments anew
        index.add(make_documents(6))
        index.add(make_documents(4, start=6))
    return tmp_path / "i"


def user_folder(folder: Path) -> Path:
    """Somebody's files, some of which have names as ours have."""
    (folder / "7").mkdir(parents=True)
    (folder / "photo.jpg").write_text("mine")
    (folder / "7" / "passages.npy.txt").write_text("mine")
    for name in ("8", "7.segment", ".8.segment.tmp"):
        (folder / name).write_text("mine")
    return folder


def everything(folder: Path, *, without: Sequence[str] = ()) -> dict[str, bytes]:
    files = [file for file in folder.rglob("*") if file.is_file() and file.relative_to(folder).parts[0] not in without]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


# ---- links --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["segments", "segments/1.segment", "catalog.sqlite", "writer.lock"])
def test_a_link_inside_the_folder_is_refused_and_nothing_behind_it_is_touched(
    path: Path, tmp_path: Path, name: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    target = path / name
    if target.exists():
        target.rename(elsewhere)
    else:
        elsewhere.write_text("")
    target.symlink_to(elsewhere)
    mine = user_folder(elsewhere / "mine" if elsewhere.is_dir() else tmp_path / "mine")
    before = everything(mine)
    refused = f"{name}: is a symbolic link"
    with pytest.raises(CorruptIndexError, match=refused), Index.open(path, FakeEncoder()) as index:
        index.add(make_documents(1, start=50))
    with pytest.raises(CorruptIndexError, match=refused), Index.open(path, FakeEncoder()) as index:
        index.merge()
    assert everything(mine) == before


def test_a_link_that_comes_while_the_index_is_open_is_refused(path: Path, tmp_path: Path) -> None:
    mine = user_folder(tmp_path / "mine")
    before = everything(mine)
    with Index.open(path, FakeEncoder()) as index:
        (path / "segments").rename(tmp_path / "moved")
        (path / "segments").symlink_to(mine)
        for change in (index.merge, lambda: index.delete(["d1"]), lambda: index.add(make_documents(1, start=50))):
            with pytest.raises(CorruptIndexError, match="segments: is a symbolic link"):
                change()
    assert everything(mine) == before


def test_a_link_to_the_whole_folder_will_do(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path)
    with Index.open(tmp_path / "link", FakeEncoder()) as index:
        index.add(make_documents(1, start=50))
        index.merge()
        assert index.check().ok and len(index) == 11


def test_a_copy_by_hard_links_is_read_and_not_written(path: Path, tmp_path: Path) -> None:
    shutil.copytree(path, tmp_path / "copy", copy_function=os.link)
    for each in (path, tmp_path / "copy"):
        with Index.open(each, FakeEncoder()) as index:
            assert index.check().ok and len(index) == 10
            with pytest.raises(SaelexError, match=r"catalog\.sqlite: has another name elsewhere"):
                index.add(make_documents(1, start=50))
    shutil.rmtree(tmp_path / "copy")
    with Index.open(path, FakeEncoder()) as index:
        assert index.add(make_documents(1, start=50)).added == 1


def test_a_missing_segments_folder_is_an_error(path: Path) -> None:
    shutil.rmtree(path / "segments")
    with pytest.raises(CorruptIndexError, match="segments: missing"):
        Index.open(path)


# ---- foreign entries and old copies ---------------------------------------------------------------------------------


def test_only_what_the_writer_made_is_removed(path: Path, tmp_path: Path) -> None:
    mine = user_folder(path / "segments" / "mine")
    for name in ("7", "8", "photo.jpg", "7.segment", ".8.segment.tmp"):
        (mine / name).rename(path / "segments" / name)
    orphan = path / "segments" / ".3.segment.tmp"
    orphan.write_bytes((path / "segments" / "1.segment").read_bytes()[:500])
    (path / "segments" / "9.segment").symlink_to(tmp_path)
    before = everything(path / "segments", without=["1.segment", "2.segment", ".3.segment.tmp"])
    with Index.open(path, FakeEncoder()) as index:
        index.merge()
        assert index.check().ok
    kept = {"mine", "7", "8", "photo.jpg", "7.segment", ".8.segment.tmp", "9.segment"}
    assert {entry.name for entry in (path / "segments").iterdir()} == {*kept, "3.segment", "owner"}
    assert everything(path / "segments", without=["3.segment"]) == before


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_is_in_the_next_segments_place_stays(path: Path, tmp_path: Path, kind: str) -> None:
    place = path / "segments" / "3.segment"
    if kind == "folder":
        place.mkdir()
        (place / "mine.txt").write_text("mine")
    elif kind == "file":
        place.write_text("mine")
    else:
        place.symlink_to(tmp_path)
    with Index.open(path, FakeEncoder()) as index:
        with pytest.raises(CorruptIndexError, match=r"segments/3\.segment: is where the next segment belongs"):
            index.merge()
        assert os.path.lexists(place) and len(index) == 10
        assert kind != "folder" or (place / "mine.txt").read_text() == "mine"


def test_an_old_catalogue_beside_newer_segments_removes_none(path: Path, tmp_path: Path) -> None:
    shutil.copy(path / "catalog.sqlite", tmp_path / "old")
    with Index.open(path, FakeEncoder()) as index:
        index.add(make_documents(1, start=50))
        index.add(make_documents(1, start=51))
    shutil.copy(path / "catalog.sqlite", tmp_path / "new")
    shutil.copy(tmp_path / "old", path / "catalog.sqlite")
    with Index.open(path, FakeEncoder()) as index:
        assert len(index) == 10
        with pytest.raises(CorruptIndexError, match=r"segment 4 is of a later commit than catalog\.sqlite knows"):
            index.add(make_documents(1, start=60))
    shutil.copy(tmp_path / "new", path / "catalog.sqlite")
    with Index.open(path, FakeEncoder()) as index:
        assert len(index) == 12 and index.check().ok


def test_a_crash_may_leave_several_segments_of_one_commit(tmp_path: Path) -> None:
    """A commit that weighs words anew makes every segment anew; those of an old catalogue are told from them."""
    path, long = tmp_path / "i", Document("long", "turbine " * 300)
    segments = path / "segments"
    with Index.create(path, FakeEncoder()) as index:
        for i in range(2):
            index.add([Document(f"d{i}", "The turbine turns.")])
    assert {entry.name for entry in segments.iterdir()} == {"1.segment", "2.segment", "owner"}
    with (
        Index.open(path, FakeEncoder()) as index,
        mock.patch.object(durable, "commit", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        index.add([long])
    made = {f"{number}.segment" for number in (3, 4, 5)}
    assert {entry.name for entry in segments.iterdir()} == {
        "1.segment",
        "2.segment",
        *made,
        ".3-5.segments.tmp",
        "owner",
    }

    (segments / ".3-5.segments.tmp").rename(segments / ".4-5.segments.tmp")
    with Index.open(path, FakeEncoder()) as index:
        with pytest.raises(CorruptIndexError, match=r"segment 5 is of a later commit than catalog\.sqlite knows"):
            index.add([long])
        assert (segments / "5.segment").exists()

    (segments / ".4-5.segments.tmp").rename(segments / ".3-5.segments.tmp")
    with Index.open(path, FakeEncoder()) as index:
        assert len(index) == 2
        index.add([long])
        assert index.check().ok and [hit.id for hit in index.search("turbine", k=1)] == ["long"]
    assert {entry.name for entry in segments.iterdir()} == {*made, "owner"}


def test_the_next_segment_never_is_a_committed_one(path: Path) -> None:
    with Index.open(path, FakeEncoder()) as index, index._storage.catalog.transaction() as lie:
        lie.set_settings({"next_segment": 2})
    with Index.open(path, FakeEncoder()) as index:
        with pytest.raises(CorruptIndexError, match=r"segments/2\.segment: is where the next segment belongs"):
            index.add(make_documents(1, start=50))
        assert index.check().ok and len(index) == 10


# ---- creating -------------------------------------------------------------------------------------------------------


def test_creating_removes_nothing_of_anybodys(tmp_path: Path) -> None:
    for name in (".i.new", ".i.tmp", "..i.new"):
        user_folder(tmp_path / name)
    (tmp_path / ".concepts.sqlite.new").write_text("mine")
    before = everything(tmp_path)
    with InvertedIndex.create(tmp_path / "i", 10) as index:
        assert len(index) == 0
    concepts = [Concept(1, "wing", (), (), 0.5, 1.0)]
    ConceptStore.write(tmp_path / "concepts.sqlite", concepts, fingerprint="f").close()
    assert everything(tmp_path, without=["i", "concepts.sqlite"]) == before


def test_an_empty_folder_and_a_link_to_one_become_the_index(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    InvertedIndex.create(tmp_path / "link", 10).close()
    InvertedIndex.open(tmp_path / "empty").close()
    for taken in (tmp_path / "link", tmp_path / "empty"):
        with pytest.raises(InputError, match="exists already"):
            InvertedIndex.create(taken, 10)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for taken in (tmp_path / "file", tmp_path / "dangling"):
        with pytest.raises(InputError, match="exists already"):
            InvertedIndex.create(taken, 10)
    assert (tmp_path / "file").read_text() == "mine" and not (tmp_path / "nowhere").exists()


def test_one_of_several_creators_wins(tmp_path: Path) -> None:
    barrier = threading.Barrier(6)
    outcomes: list[Any] = []

    def create(number: int) -> None:
        barrier.wait()
        try:
            with InvertedIndex.create(tmp_path / "i", 10 + number) as index:
                outcomes.append(index.n_latents)
        except SaelexError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (won,) = [outcome for outcome in outcomes if isinstance(outcome, int)]
    losers = [outcome for outcome in outcomes if outcome != won]
    assert len(losers) == 5 and all(type(error) is InputError and "exists already" in str(error) for error in losers)
    assert [entry.name for entry in tmp_path.iterdir()] == ["i"]
    with InvertedIndex.open(tmp_path / "i") as index:
        assert index.n_latents == won


def test_somebody_who_is_quicker_by_a_moment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = durable.rename

    def late(source: Path, target: Path) -> None:
        target.mkdir()
        (target / "mine").write_text("mine")
        rename(source, target)

    monkeypatch.setattr(durable, "rename", late)
    with pytest.raises(InputError, match="exists already"):
        InvertedIndex.create(tmp_path / "i", 10)
    assert everything(tmp_path) == {"i/mine": b"mine"}


# ---- after the commit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [OSError(errno.EMFILE, "Too many open files"), CorruptIndexError("a file is damaged")]
)
@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.add(make_documents(3, start=20)),
        lambda index: index.update([Document("d1", "Changed wings.")]),
        lambda index: index.delete(["d1"]),
        lambda index: index.merge(),
    ],
)
def test_an_error_after_the_commit_says_that_it_stands(
    path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Index], Any], error: Exception
) -> None:
    with Index.open(path, FakeEncoder()) as index:
        index.add(make_documents(1, start=40))
        before = index._storage.snapshot.generation
        read = storage.Storage._read_snapshot

        def failing(self: Any, known: Any) -> Any:
            if self.catalog.generation() > before:
                raise error
            return read(self, known)

        with monkeypatch.context() as patch:
            patch.setattr(storage.Storage, "_read_snapshot", failing)
            with pytest.raises(SaelexError, match="what was committed before that stands") as raised:
                change(index)
        assert "\n" not in str(raised.value) and "as it was" not in str(raised.value)
        assert type(raised.value) is (CorruptIndexError if isinstance(error, CorruptIndexError) else SaelexError)
        assert index._storage.catalog.generation() == before + 1
        with Index.open(path, FakeEncoder()) as reader:
            assert reader.check().ok
            expected = [hit.id for hit in reader.search("only20 wing", k=20)]
        assert [hit.id for hit in index.search("only20 wing", k=20)] == expected
        assert index.add(make_documents(1, start=60)).added == 1 and index.check().ok


def test_a_commit_that_fails_at_its_end_is_asked_whether_it_is_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = durable.commit

    def sync_failed(connection: sqlite3.Connection) -> None:
        commit(connection)
        raise sqlite3.OperationalError("disk I/O error")

    with Index.open(path, FakeEncoder()) as index:
        with monkeypatch.context() as patch:
            patch.setattr(durable, "commit", sync_failed)
            with pytest.raises(SaelexError, match="disk I/O error; what was committed before that stands"):
                index.delete(["d1"])
        assert len(index) == 9 and index.check().ok


# ---- forked processes -----------------------------------------------------------------------------------------------


def in_fork(work: Callable[[], Any]) -> str:
    """What `work` gives in a forked child: its result, or the class and the message of its error."""
    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)
    child = os.fork()
    if not child:
        try:
            try:
                answer = str(work())
            except BaseException as error:
                answer = f"{type(error).__name__}: {error}"
            sender.send(answer)
        finally:
            os._exit(0)
    sender.close()
    if not receiver.poll(60):
        os.kill(child, signal.SIGKILL)
    try:
        return str(receiver.recv())
    finally:
        os.waitpid(child, 0)
        receiver.close()


def test_a_forked_child_reads_with_a_connection_of_its_own(path: Path) -> None:
    with Index.open(path, FakeEncoder()) as index:
        expected = [hit.id for hit in index.search("wing", where={"lang": "en"})]
        inherited = index._storage.catalog._shared

        def search() -> str:
            assert index._storage.catalog._shared is None
            ids = [hit.id for hit in index.search("wing", where={"lang": "en"})]
            assert index._storage.catalog._shared is not inherited
            index.close()
            return f"{ids}"

        assert in_fork(search) == str(expected)
        assert index.add(make_documents(1, start=50)).added == 1
        assert in_fork(lambda: index.add(make_documents(1, start=51)).added) == "1"
        assert len(index) == 12 and index.check().ok


def test_a_forked_child_of_a_writer_writes_nothing(path: Path) -> None:
    with Index.open(path, FakeEncoder()) as index:
        with index._storage.writing():
            for change in (
                lambda: index.delete(["d1"]),
                lambda: index._storage.commit(deleted=[0]),
                lambda: index._storage.merge(),
            ):
                refused = in_fork(change)
                assert refused.startswith(("LockedError: ", "SaelexError: ")) and "another process" in refused
            index._storage.commit(deleted=[0])  # the parent may
        with index._storage.catalog.transaction() as transaction:
            answer = in_fork(lambda: transaction.set_settings({"step": 7.0}))
            assert answer == "None" or "Error" in answer  # never durable: the parent's transaction ends as it would
        assert len(index) == 9 and index.settings["step"] != 7.0 and index.check().ok


def test_a_child_that_leaves_its_parents_block_neither_commits_nor_unlocks(path: Path) -> None:
    @contextmanager
    def both(folder: Path) -> Iterator[None]:
        catalog = Catalog.open(folder / "catalog.sqlite")
        with writer_lock(folder), closing(catalog), catalog.transaction() as transaction:
            transaction.remove_segments([1])
            yield
            if os.getpid() == parent:
                raise InputError("the parent takes it back")

    parent = os.getpid()
    block = both(path)
    block.__enter__()

    def leave() -> None:
        block.__exit__(None, None, None)

    assert "SaelexError" in in_fork(leave)
    with pytest.raises(SaelexError, match="another process is writing"), writer_lock(path):
        pass
    with pytest.raises(InputError, match="takes it back"):
        block.__exit__(None, None, None)
    with Index.open(path, FakeEncoder()) as index, index._storage.catalog.reading() as connection:
        assert SEGMENTS.totals(connection)[0] == 2 and index.check().ok


def test_a_child_that_outlives_the_writer_does_not_keep_the_lock(path: Path) -> None:
    receiver, sender = os.pipe()
    writer = os.fork()
    if not writer:
        with writer_lock(path):
            if not os.fork():  # the grandchild waits until the test is through
                os.close(sender)
                os.read(receiver, 1)
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)
    os.close(receiver)
    os.waitpid(writer, 0)
    try:
        with InvertedIndex.create(path.with_name("bare"), 30) as bare:
            bare.add(["a", "b"], random_rows(2, 30, 5, seed=1))
        with Index.open(path, FakeEncoder()) as index:
            assert index.add(make_documents(1, start=50)).added == 1
    finally:
        os.close(sender)


def test_a_segments_folder_is_one_indexs_own(tmp_path: Path) -> None:
    """Mounted or moved into another index, whose writer would take what it does not know for its own leftovers."""
    for name in ("a", "b"):
        with Index.create(tmp_path / name, FakeEncoder()) as made:
            made.add(make_documents(5))
    shutil.rmtree(tmp_path / "b" / "segments")
    shutil.copytree(tmp_path / "a" / "segments", tmp_path / "b" / "segments")
    with pytest.raises(CorruptIndexError, match="another index's, or without its mark 'owner'"):
        Index.open(tmp_path / "b", FakeEncoder())
    with Index.open(tmp_path / "a", FakeEncoder()) as opened:
        (tmp_path / "a" / "segments" / "owner").unlink()
        with pytest.raises(CorruptIndexError, match="another index's, or without its mark 'owner'"):
            opened.merge()
        assert (tmp_path / "a" / "segments" / "1.segment").is_file()
