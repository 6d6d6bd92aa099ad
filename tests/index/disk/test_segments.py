"""One file a segment: what is in it, what opening it costs, and lines that compiled code may read."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.index.fakes import random_rows

from saelex.errors import CorruptIndexError
from saelex.index.disk import segments
from saelex.index.disk.array_file import BLOCK, ArrayFile, ranges, write_arrays
from saelex.index.disk.building import build_segment
from saelex.index.disk.segments import SegmentArrays, open_segment, reclaim, write_segment
from saelex.index.quantise import Quantiser

N_ROWS, N_COLUMNS = 400, 900


def segment_arrays(forward: bool = True, pruned: bool = True) -> SegmentArrays:
    rows = Quantiser(1e-3).documents(random_rows(N_ROWS, N_COLUMNS, 120, seed=1, positions=True))
    numbers = np.arange(N_ROWS, dtype=np.int64)
    return build_segment(rows, N_COLUMNS, numbers, numbers, forward=forward, pruned=pruned)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def equal(left: SegmentArrays, right: SegmentArrays) -> bool:
    return all(
        (one is None and two is None) or all(map(np.array_equal, one, two))
        if one is None or isinstance(one, tuple)
        else np.array_equal(one, two)
        for one, two in zip(left, right)
    )


@pytest.mark.parametrize(("forward", "pruned"), [(False, False), (True, False), (True, True)])
def test_what_is_written_comes_back(tmp_path: Path, forward: bool, pruned: bool) -> None:
    arrays = segment_arrays(forward, pruned)
    record = write_segment(tmp_path, 7, arrays)
    assert [entry.name for entry in tmp_path.iterdir()] == ["7.segment"]
    segment = open_segment(tmp_path, 7, record)
    assert equal(segment.arrays(), arrays)
    assert (segment.n_rows, segment.n_columns, segment.n_nonzero) == (N_ROWS, N_COLUMNS, len(arrays.postings.rows))
    assert segment.size == (tmp_path / "7.segment").stat().st_size
    assert sum(segment.sizes.values()) <= segment.size < 1.01 * sum(segment.sizes.values()) + 2000
    rows = np.array([3, 4, 90])
    stored = segment.rows_of(rows, 0.5)
    expected = segment_arrays().forward
    assert expected is not None
    for i, row in enumerate(rows):
        entries = slice(expected.indptr[row], expected.indptr[row + 1])
        latents, weights = stored.row(i)
        assert np.array_equal(latents, expected.latents[entries])
        assert np.array_equal(weights, expected.weights[entries] * np.float32(0.5))
        columns, found = segment.weights_of(int(row), np.array([0, *latents[:5], N_COLUMNS + 3], np.int32))
        assert set(latents[:5].tolist()) <= set(columns.tolist()) and len(found) == len(columns)


def test_lines_are_the_same_whatever_was_asked_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_AHEAD", 5000)  # of 200,000 bytes
    arrays = segment_arrays()
    record = write_segment(tmp_path, 1, arrays)
    generator = np.random.default_rng(0)
    for _ in range(5):
        segment = open_segment(tmp_path, 1, record)
        for _ in range(20):
            columns = generator.choice(N_COLUMNS + 50, 12, replace=False).astype(np.int32)
            found = segment.postings.lines(columns)
            for column in columns[columns < N_COLUMNS]:
                entries = slice(arrays.postings.indptr[column], arrays.postings.indptr[column + 1])
                assert np.array_equal(found.rows[entries], arrays.postings.rows[entries])
        assert equal(segment.arrays(), arrays)


def test_opening_reads_the_directory_and_searching_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = write_segment(tmp_path, 1, segment_arrays())
    read: list[int] = []
    pread = os.pread
    monkeypatch.setattr(
        os, "pread", lambda descriptor, size, start: (read.append(size), pread(descriptor, size, start))[1]
    )
    segment = open_segment(tmp_path, 1, record)
    assert read == [record.size - record.directory]
    segment.postings.lines(np.array([5]))
    segment.arrays()
    done = len(read)
    assert sum(read) >= record.size - BLOCK  # all of it, each block once
    assert sum(read) <= record.size
    segment.postings.lines(np.arange(N_COLUMNS))
    segment.arrays()
    assert len(read) == done  # compared once


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts a process's files as Linux shows them")
def test_a_segment_takes_two_files_at_most_and_gives_them_back(tmp_path: Path) -> None:
    records = [write_segment(tmp_path, number, segment_arrays()) for number in range(10)]
    before = open_files()
    opened = [open_segment(tmp_path, number, record) for number, record in enumerate(records)]
    for segment in opened:
        segment.arrays()
    assert open_files() - before <= 2 * len(opened)
    del opened, segment
    assert open_files() == before


def test_lines_that_would_leave_their_arrays_are_refused_whatever_their_checksums(tmp_path: Path) -> None:
    whole = segment_arrays()
    assert whole.forward is not None

    def changed(array: np.ndarray, place: int, value: int) -> np.ndarray:
        copy = array.copy()
        copy[place] = value
        return copy

    postings, forward = whole.postings, whole.forward
    longest = int(np.argmax(np.diff(postings.indptr)))
    first = int(postings.indptr[longest])
    outside = "postings.rows: entries out of order, or outside 0..399"
    borders = "postings.indptr: the borders are wrong"
    for number, (damaged, message) in enumerate(
        [
            (postings._replace(rows=changed(postings.rows, first, N_ROWS)), outside),
            (postings._replace(rows=changed(postings.rows, first, -1)), outside),
            (postings._replace(rows=changed(postings.rows, first, int(postings.rows[first + 2]))), outside),
            (postings._replace(indptr=changed(postings.indptr, longest, -8)), borders),
            (postings._replace(indptr=changed(postings.indptr, longest + 1, 0)), borders),
            (postings._replace(indptr=changed(postings.indptr, longest + 1, 1 << 60)), borders),
        ]
    ):
        record = write_segment(tmp_path, number, whole._replace(postings=damaged))
        for ask in (
            lambda segment: segment.postings.lines(np.array([longest])),
            lambda segment: segment.arrays(),
        ):
            segment = open_segment(tmp_path, number, record)
            for _ in range(2):  # it stays so
                with pytest.raises(CorruptIndexError, match=message):
                    ask(segment)
    for damaged, message in (
        (whole._replace(forward=forward._replace(latents=changed(forward.latents, -1, N_COLUMNS))), "outside 0..899"),
        (whole._replace(forward=forward._replace(indptr=changed(forward.indptr, 0, 2))), "forward.indptr: the borders"),
        (whole._replace(postings=postings._replace(indptr=postings.indptr + 1)), borders),
    ):
        segment = open_segment(tmp_path, 9, write_segment(tmp_path, 9, damaged))
        with pytest.raises(CorruptIndexError, match=message):
            segment.arrays()
    for damaged, message in (
        (whole._replace(postings=postings._replace(weights=postings.weights[:-1])), "postings differ in length"),
        (whole._replace(documents=whole.documents[1:]), "differ in number"),
        (whole._replace(forward=forward._replace(indptr=forward.indptr[:-1])), "differ in number"),
    ):
        with pytest.raises(CorruptIndexError, match=message):
            open_segment(tmp_path, 9, write_segment(tmp_path, 9, damaged))


def test_threads_verify_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_AHEAD", 500)
    arrays = segment_arrays()
    segment = open_segment(tmp_path, 1, write_segment(tmp_path, 1, arrays))
    wrong: list[int] = []

    def ask(seed: int) -> None:
        for column in np.random.default_rng(seed).permutation(N_COLUMNS):
            found = segment.postings.lines(np.array([column]))
            entries = slice(arrays.postings.indptr[column], arrays.postings.indptr[column + 1])
            if not np.array_equal(found.rows[entries], arrays.postings.rows[entries]):
                wrong.append(int(column))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and equal(segment.arrays(), arrays)


def test_only_what_a_writer_left_is_reclaimed(tmp_path: Path) -> None:
    for number in (3, 4):
        write_segment(tmp_path, number, segment_arrays())
    half = (tmp_path / "4.segment").read_bytes()[:100]
    for number, content in enumerate([half, half[:7], b"", bytes(300)], start=5):
        (tmp_path / f".{number}.segment.tmp").write_bytes(content)
    kept = ["notes.txt", "12", "x.segment", ".hidden.tmp", "9.segment", ".10.segment.tmp", "07.segment"]
    for name in kept:
        (tmp_path / name).write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "11.segment").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "12.segment").symlink_to(tmp_path / "3.segment")
    (tmp_path / "13.segment").mkdir()
    kept += ["elsewhere", "11.segment", "12.segment", "13.segment"]
    reclaim(tmp_path, {3})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([*kept, "3.segment"])
    assert (tmp_path / "9.segment").read_text() == "mine"


def test_what_is_in_the_way_of_half_a_segment_stays(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / ".1.segment.tmp").symlink_to(mine)
    with pytest.raises(FileExistsError):
        write_segment(tmp_path, 1, segment_arrays())
    assert mine.read_text() == "mine" and (tmp_path / ".1.segment.tmp").is_symlink()


def test_arrays_of_every_kind_in_one_file(tmp_path: Path) -> None:
    arrays = {
        "empty": np.zeros(0, np.int64),
        "one": np.array([7], np.uint8),
        "long": np.arange(3 * BLOCK, dtype=np.int32),
        "strided": np.arange(100, dtype=np.uint16)[::3],
        "none again": np.zeros(0, np.uint16),
    }
    file = ArrayFile(tmp_path / "a", write_arrays(tmp_path / "a", arrays))
    for name, array in arrays.items():
        assert file.whole(name).dtype == array.dtype and np.array_equal(file.whole(name), array)
        assert file.sizes[name] == array.nbytes
    with pytest.raises(CorruptIndexError, match="it has no other"):
        file.array("other")


def test_ranges() -> None:
    assert ranges(np.array([3, 9, 4]), np.array([5, 9, 7])).tolist() == [3, 4, 4, 5, 6]
