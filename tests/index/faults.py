"""Faults at every call that a commit is made of: refused, interrupted, killed, or cut off from power.

Each change of an index is made again and again from the same start, and each time another one of its file-system calls
fails, before or after it has done its work. The index must then be as it was before or as it would have been after, to
this process, to a new one and on the disk; and the next writer must get on.
"""

from __future__ import annotations

import errno
import functools
import itertools
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from tests.index.fakes import FakeEncoder, make_documents

from saelex.concepts.concept import Concept
from saelex.corpus.documents import Document
from saelex.errors import SaelexError
from saelex.index.disk import durable
from saelex.index.index import Index


class State(NamedTuple):
    """What an index holds."""

    documents: dict[str, Document]
    labels: list[Concept]


CALLS = ("mkdir", "rename", "replace", "fsync", "unlink", "rmdir")  # of `os`; and SQLite's commit
FAULTS = ("no space", "input/output error", "interrupt", "kill", "power cut")
_ERRORS: dict[str, BaseException] = {
    "no space": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "input/output error": OSError(errno.EIO, os.strerror(errno.EIO)),
    "interrupt": KeyboardInterrupt(),
    "power cut": KeyboardInterrupt(),
}
_LONG = Document("d100", "only100 " + 300 * "turbine ", "", {"lang": "en"})  # moves the mean length of passages
_ENCODER = FakeEncoder(1 << 16)  # so many latents that the words of two documents do not fire the same ones


def _changing(change: Callable[[Index], Any]) -> Callable[[Path], None]:
    def perform(path: Path) -> None:
        with Index.open(path, _ENCODER) as index:
            change(index)

    return perform


CHANGES: dict[str, Callable[[Path], None]] = {
    "create": lambda path: Index.create(path, _ENCODER).close(),
    "add": _changing(lambda index: index.add(make_documents(5, start=100))),
    "update": _changing(lambda index: index.update([Document("d1", "only1 with turbines.", "", {"lang": "en"})])),
    "reweigh": _changing(lambda index: index.add([_LONG])),
    "delete": _changing(lambda index: index.delete(["d0", "d9"])),
    "merge": _changing(lambda index: index.merge()),
    "fill": _changing(lambda index: index.fill(make_documents(3, start=200))),
    "label": _changing(lambda index: index.label()),
}


class Outcome(NamedTuple):
    """Of one fault. committed: whether the change is there."""

    change: str
    fault: str
    call: str
    committed: bool


class Watch:
    """Counts the calls inside a folder and calls `act(number, after)` before and after each one."""

    def __init__(self, root: Path, act: Callable[[int, bool], None]) -> None:
        self.root = root.resolve()
        self.names: list[str] = []
        self._act = act

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside the block the calls are watched."""
        with ExitStack() as patched:
            for module, name in [*((os, name) for name in CALLS), (durable, "commit")]:
                watched = self._watched(name, getattr(module, name))
                patched.enter_context(mock.patch.object(module, name, watched))
            yield

    def _watched(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(target: Any, *arguments: Any, **options: Any) -> Any:
            path = self.path(target, options.get("dir_fd"))
            if self.root not in (path, *path.parents):
                return original(target, *arguments, **options)
            number = len(self.names)
            self.names.append(name)
            self._act(number, False)
            self.before(name, path)
            result = original(target, *arguments, **options)
            self.after(name, path)
            self._act(number, True)
            return result

        return call

    def path(self, target: Any, folder: int | None) -> Path:
        """What a call is about."""
        if isinstance(target, sqlite3.Connection):
            return Path(target.execute("PRAGMA database_list").fetchone()[2])
        if isinstance(target, int):
            return Path(f"/proc/self/fd/{target}").readlink()
        if folder is not None:
            return Path(f"/proc/self/fd/{folder}").readlink() / str(target)
        return Path(target).parent.resolve() / Path(target).name

    def before(self, name: str, path: Path) -> None:
        """Hook of what a subclass wants to know ahead of a call."""

    def after(self, name: str, path: Path) -> None:
        """And when it has done its work."""


class Disk(Watch):
    """What a power cut would leave: file contents as they were last synced, folders' entries likewise.

    What SQLite does with its own file is taken to be durable at the end of its commit, and undone before.
    """

    def __init__(self, root: Path, act: Callable[[int, bool], None]) -> None:
        super().__init__(root, act)
        self._contents: dict[int, bytes] = {}  # by inode
        self._entries: dict[int, list[tuple[str, int, bool]]] = {}  # name, inode, whether it is a folder
        self._held: list[int] = []  # descriptors of what is removed, so that no inode is used again
        for path in (self.root, *self.root.rglob("*")):
            self._sync(path)

    def before(self, name: str, path: Path) -> None:
        if name in ("unlink", "rmdir"):
            with suppress(OSError):
                self._held.append(os.open(path, os.O_RDONLY))

    def after(self, name: str, path: Path) -> None:
        if name in ("fsync", "commit"):
            self._sync(path)

    def _sync(self, path: Path) -> None:
        inode = path.stat().st_ino
        if path.is_dir():
            entries = [entry for entry in path.iterdir() if not entry.name.endswith("-journal")]
            self._entries[inode] = [(entry.name, entry.stat().st_ino, entry.is_dir()) for entry in entries]
        else:
            self._contents[inode] = path.read_bytes()

    def restore(self, target: Path) -> None:
        """Write what would be on the disk after a power cut."""
        self._restore(self.root.stat().st_ino, target)
        for descriptor in self._held:
            os.close(descriptor)

    def _restore(self, folder: int, target: Path) -> None:
        target.mkdir()
        for name, inode, is_folder in self._entries.get(folder, []):
            if is_folder:
                self._restore(inode, target / name)
            else:
                (target / name).write_bytes(self._contents.get(inode, b""))


class _Between(NamedTuple):
    """What an index may hold after a change that failed."""

    before: State | None
    after: State | None

    def committed(self, state: State | None) -> bool:
        """Whether the change is there: its documents, that is; labels are written after them, by themselves."""
        if state == self.before:
            return state == self.after
        assert state is not None and self.after is not None and state.documents == self.after.documents, "half is there"
        labels = [known.labels for known in self if known is not None]
        assert state.labels in labels, "the labels are others"
        return True


def inject(folder: Path, changes: Sequence[str] = tuple(CHANGES), stride: int = 1) -> Iterator[Outcome]:
    """All faults at every call of these changes; AssertionError for the first one that loses anything.

    folder: an empty one. stride: only every so manieth fault is tried.
    """
    starts = {True: folder / "empty", False: folder / "start"}
    for start in starts.values():
        start.mkdir()
    with Index.create(starts[False] / "index", _ENCODER) as index:
        index.add(make_documents(8))
        index.add(make_documents(4, start=8))
        index.label()
        index.delete(["d10"])
    tried = itertools.count()
    for change in changes:
        start = starts[change == "create"]
        done = Path(shutil.copytree(start, folder / change))
        disk = Disk(done, lambda number, after: None)
        with disk.watching():
            CHANGES[change](done / "index")
        disk.restore(folder / f"{change}, on disk")
        states = _Between(verified(start / "index"), verified(done / "index"))
        assert verified(folder / f"{change}, on disk" / "index") == states.after, f"{change}: a power cut undoes it"
        for fault, (number, call), after in itertools.product(FAULTS, enumerate(disk.names), (False, True)):
            if next(tried) % stride == 0:
                work = Path(shutil.copytree(start, folder / "work"))
                what = f"{fault} {'after' if after else 'before'} call {number} ({call}) of {change}"
                try:
                    committed = _inject(work, change, fault, number, after, states)
                except Exception as error:
                    raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
                yield Outcome(change, fault, call, committed)
                shutil.rmtree(work)


def _inject(work: Path, change: str, fault: str, number: int, after: bool, states: _Between) -> bool:
    """One fault, and what it left; whether the change is there."""

    def act(at: int, is_after: bool) -> None:
        if (at, is_after) == (number, after):
            if fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise _ERRORS[fault]

    watch = Disk(work, act) if fault == "power cut" else Watch(work, act)
    said = _killed(work, change, watch) if fault == "kill" else _failed(work, change, watch)
    path = work / "index"
    if isinstance(watch, Disk):
        watch.restore(work / "disk")
        path = work / "disk" / "index"
    state = verified(path)
    committed = states.committed(state)
    assert said is None or "stands" not in said or committed, said
    assert said is not None or state == states.after, "nothing was said, and the change is not there"
    if state is None:
        CHANGES["create"](path)
    with Index.open(path, _ENCODER) as index:
        index.add(make_documents(1, start=300))  # the next writer gets on
        index.merge()
    found = verified(path)
    assert found is not None and found.documents.keys() == {*(state.documents if state else ()), "d300"}
    return committed


def _failed(work: Path, change: str, watch: Watch) -> str | None:
    """What was said of a change that met its fault; None for nothing."""
    try:
        with watch.watching():
            CHANGES[change](work / "index")
    except SaelexError as error:
        assert "\n" not in str(error)
        return str(error)
    except KeyboardInterrupt:
        return "interrupted"
    return None


def _killed(work: Path, change: str, watch: Watch) -> str | None:
    """That it was killed; None where the call failed by itself, as it may, and there was no moment after it."""
    child = os.fork()
    if not child:
        code = 1
        try:
            with watch.watching():
                CHANGES[change](work / "index")
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL), "the writer failed by itself"
    return "killed" if code else None


def verified(path: Path) -> State | None:
    """What an index holds that is whole: checked, all found by their own words. None where there is none."""
    if not path.exists():
        return None
    with Index.open(path, _ENCODER) as index:
        report = index.check()
        assert report.ok, str(report)
        with index._storage.catalog.reading():
            documents = {name: index.document(name) for _, name in index._storage.catalog.ids()}
        assert len(index) == len(documents)
        for name, document in documents.items():
            where = {"lang": document.metadata["lang"]}
            assert [hit.document for hit in index.search(f"only{name[1:]}", k=1, where=where)] == [document], name
        return State(documents, list(index.concepts or ()))
