"""Waiting for the right to write."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.index.fakes import FakeEncoder, make_documents, random_rows

from saelex.errors import InputError, SaelexError
from saelex.index.disk import lock
from saelex.index.disk.catalog import Catalog
from saelex.index.disk.lock import writer_lock
from saelex.index.disk.storage import Storage
from saelex.index.index import Index
from saelex.index.inverted import InvertedIndex


class Clock:
    """Time that passes only while somebody sleeps; `at` is called whenever it does."""

    def __init__(self, at: Any = lambda now: None) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.at = at

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        self.at(self.now - 1000.0)


def test_the_time_to_wait_is_kept_and_its_end_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(lock, "time", clock)
    with writer_lock(tmp_path):
        with pytest.raises(SaelexError) as stopped, writer_lock(tmp_path, 2.02):
            pass
        assert sum(clock.slept) == pytest.approx(2.02)
        assert str(stopped.value) == (
            f"{tmp_path}: another process is writing to this index, still after 2.02 seconds; try again when it is done"
        )
        clock.slept.clear()
        with pytest.raises(SaelexError, match="writing to this index; try again"), writer_lock(tmp_path):
            pass
        assert not clock.slept
    with writer_lock(tmp_path, 30):  # nobody else is there
        assert not clock.slept


@pytest.mark.parametrize("wait", [30, math.inf])
def test_who_waits_writes_when_the_other_is_done_after_what_it_has_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait: float
) -> None:
    with (
        Index.create(tmp_path / "i", FakeEncoder()) as first,
        Index.open(first.path, FakeEncoder(), wait=wait) as other,
    ):
        writing = first._storage.writing()
        writing.__enter__()

        def done(after: float) -> None:
            if after > 20 and first._storage._writer is not None:
                writing.__exit__(None, None, None)
                first.add(make_documents(1))

        clock = Clock(done)
        monkeypatch.setattr(lock, "time", clock)
        assert other.add(make_documents(1, start=1)).added == 1
        assert 20 < sum(clock.slept) < 21
        assert len(other) == 2 and other.check().ok and first._storage.refresh()


def test_threads_of_one_process_wait_for_each_other(tmp_path: Path) -> None:
    Index.create(tmp_path / "i", FakeEncoder()).close()
    failed: list[BaseException] = []

    def add(number: int) -> None:
        try:
            with Index.open(tmp_path / "i", FakeEncoder(), wait=math.inf) as index:
                index.add(make_documents(1, start=number))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=add, args=[i]) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Index.open(tmp_path / "i", FakeEncoder()) as index:
        assert failed == [] and len(index) == 4 and index.check().ok


def test_an_opener_reads_one_commit_whoever_makes_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of one commit with the segments of the next would have the next writer put its segment over another."""
    Index.create(tmp_path / "i", FakeEncoder()).close()
    inside: list[bool] = []
    settings, generation = Catalog.settings, Catalog.generation

    def noting(read: Callable[[Catalog], Any]) -> Callable[[Catalog], Any]:
        def noted(catalog: Catalog) -> Any:
            inside.append(catalog._connection().in_transaction)
            return read(catalog)

        return noted

    monkeypatch.setattr(Catalog, "settings", noting(settings))
    monkeypatch.setattr(Catalog, "generation", noting(generation))
    Storage.open(tmp_path / "i").close()
    assert inside == [True, True]


def test_it_reaches_every_way_to_open(tmp_path: Path) -> None:
    with Index.at(tmp_path / "i", FakeEncoder(), wait=3) as made, Index.at(tmp_path / "i", wait=4) as opened:
        assert (made._storage._wait, opened._storage._wait) == (3, 4)
        made.add(make_documents(1))
    with InvertedIndex.create(tmp_path / "v", 10) as vectors:
        vectors.add(["a"], random_rows(1, 10, 3, seed=0))
    with InvertedIndex.open(tmp_path / "v", wait=5) as again:
        assert again._storage._wait == 5


@pytest.mark.parametrize("wait", [-1, math.nan, True, "30", None])
def test_what_is_no_time_is_refused(tmp_path: Path, wait: Any) -> None:
    with pytest.raises(InputError, match="wait is a number of seconds, from 0 on"):
        Index.create(tmp_path / "i", FakeEncoder(), wait=wait)
    assert not (tmp_path / "i").exists()
