"""A writer that is killed at random instants, and the comparison of what it leaves with what it had committed.

The writer's operations are a fixed series: add documents (some of several passages), replace and delete some, merge;
every other addition is a `fill`, which derives labels after it.
It says after each that it is through. After a kill the index must be as it was after the last operation acknowledged,
or after the one that was under way: whole in either case.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from tests.index.fakes import FakeEncoder, make_documents
from tqdm import tqdm

from saelex.corpus.documents import Document
from saelex.index.index import Index

State = dict[str, Document]

_LATENTS = 1 << 16  # so many that the words of two documents do not fire the same ones


class Killed(NamedTuple):
    """What one kill left behind."""

    operation: int  # under way when the kill came
    committed: bool  # whether that operation had reached its commit
    documents: int


def crash_repeatedly(folder: Path, kills: int, seed: int = 0) -> Iterator[Killed]:
    """Kill a writer `kills` times and check the index after each. Raises AssertionError for the first thing lost."""
    generator = random.Random(seed)
    path = folder / "index"
    Index.create(path, FakeEncoder(_LATENTS)).close()
    state: State = {}
    operation = 0
    for _ in range(kills):
        finished = operation + _write_until_killed(path, operation, generator.uniform(0.0, 2.5))
        for number in range(operation, finished):
            state = applied(state, number)
        with Index.open(path, FakeEncoder(_LATENTS)) as index:
            found = _documents(index)
            following = applied(state, finished)
            committed = found != state
            assert found == (following if committed else state), f"operation {finished} is half there"
            _find_again(index, found, finished)
            report = index.check()  # the labels are whole, too
            assert report.ok, str(report)
        state, operation = found, finished + committed
        yield Killed(finished, committed, len(found))
    with Index.open(path, FakeEncoder(_LATENTS)) as index:
        index.merge()  # the next writer clears away what the kills left
        segments = {f"{segment.number}.segment" for segment in index._storage.snapshot.segments}
        assert {entry.name for entry in (path / "segments").iterdir()} == {*segments, "owner"}, "orphans stayed"
        assert _documents(index) == state, "the merge lost documents"
        _find_again(index, state, None)


def applied(state: State, operation: int) -> State:
    """The documents after an operation."""
    changed = dict(state)
    if operation % 4 in (0, 1):
        changed.update((document.id, document) for document in _new_documents(operation))
    elif operation % 4 == 2:
        changed.update((document.id, document) for document in _replacements(operation))
    else:
        for name in _deleted(operation):
            del changed[name]
    return changed


def _perform(index: Index, operation: int) -> None:
    if operation % 4 == 0:
        index.add(_new_documents(operation))
    elif operation % 4 == 1:
        index.fill(_new_documents(operation))
    elif operation % 4 == 2:
        index.update(_replacements(operation))
    else:
        index.delete(_deleted(operation))
        index.merge()


def _new_documents(operation: int) -> list[Document]:
    short = make_documents(8, start=100 * operation)
    long = " ".join(f"Part {i} of number only{100 * operation + 99}." for i in range(30))
    return [*short, Document(f"d{100 * operation + 99}", long)]


def _replacements(operation: int) -> list[Document]:
    """New texts for three documents of the operation before, and one document more."""
    return [
        Document(f"d{n}", f"only{n} again in {operation}.") for n in range(100 * operation - 100, 100 * operation - 96)
    ]


def _deleted(operation: int) -> list[str]:
    """Of the documents that the last two operations wrote."""
    return [f"d{100 * operation - 200}", f"d{100 * operation - 300 + 99}"]


def _write_until_killed(path: Path, operation: int, progress: float) -> int:
    """Let a process write, kill it after so many operations and a part of one, and return how many it finished.

    Progress and not time: on a busy machine the kills meet the same work.
    """
    # forked: everything is imported already, so the kill meets a writer at work and not an interpreter starting
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    writer = context.Process(target=_write, args=(path, operation, sender))
    writer.start()
    sender.close()
    receiver.recv()  # it has opened the index
    whole, started, finished = int(progress), time.monotonic(), 0
    while finished < whole:
        receiver.recv()
        finished += 1
    took = (time.monotonic() - started) / finished if finished else 0.02  # seconds of one operation
    time.sleep(took * (progress - whole))
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    try:
        while True:
            receiver.recv()
            finished += 1
    except EOFError:
        receiver.close()
    assert writer.exitcode == -signal.SIGKILL, "the writer failed by itself"
    return finished


def _write(path: Path, operation: int, sender: Connection) -> None:
    # tqdm's own lock is a semaphore shared with the parent: killed while holding it, we would leave the parent waiting
    tqdm.set_lock(threading.RLock())
    with Index.open(path, FakeEncoder(_LATENTS)) as index:
        sender.send("open")
        while True:
            _perform(index, operation)
            sender.send(operation)
            operation += 1


def _documents(index: Index) -> State:
    with index._storage.catalog.reading():
        names = [name for _, name in index._storage.catalog.ids()]
    assert len(names) == len(index), f"{len(names)} ids for {len(index)} documents"
    return {name: index.document(name) for name in names}


def _find_again(index: Index, documents: State, operation: int | None) -> None:
    """Search for documents by the word that each has alone: all, or those of the last operations and some others."""
    names = list(documents)
    if operation is not None:
        recent = [name for name in names if int(name[1:]) // 100 >= operation - 3]
        names = recent + random.Random(operation).sample(names, min(10, len(names)))
    if not names:
        return
    for name, hits in zip(names, index.search_batch([f"only{name[1:]}" for name in names], k=1)):
        assert [hit.id for hit in hits] == [name], f"document {name} is not found: {hits}"
        assert hits[0].document == documents[name], f"document {name} has another text: {hits[0].document}"
