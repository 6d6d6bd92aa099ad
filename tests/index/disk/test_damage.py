"""Damaged, truncated and foreign files: one clear error, never a crash of the process."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.index.damaging import damage_repeatedly
from tests.index.fakes import FakeEncoder, make_documents, random_rows

from saelex.errors import CorruptIndexError
from saelex.index.disk import catalog
from saelex.index.disk.checking import array_problems
from saelex.index.disk.tables import Table
from saelex.index.index import Index
from saelex.index.inverted import InvertedIndex
from saelex.index.request import Mode
from saelex.vectors import SparseRows

MODES: tuple[Mode, ...] = ("exact", "capped", "two_step")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("damage") / "i"
    with InvertedIndex.create(path, 400, pruned=True) as index:
        index.add([f"d{i}" for i in range(300)], random_rows(300, 400, 40, seed=1, positions=True))
    return path


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "i"))


def files(path: Path) -> list[Path]:
    return sorted((path / "segments").glob("*.segment"))


def change(file: Path, place: int) -> None:
    """Flip a bit and keep the time of change, as rot does."""
    status, content = file.stat(), bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_copied_index_opens(copy: Path) -> None:
    with InvertedIndex.open(copy) as index:
        assert index.check().ok and len(index) == 300


def test_a_short_or_long_file_is_an_error_on_opening(copy: Path) -> None:
    for file in files(copy):
        content = file.read_bytes()
        for damaged in (content[:-1], content[: len(content) // 2], b"", content + b"\0"):
            file.write_bytes(damaged)
            with pytest.raises(CorruptIndexError, match=rf"{file.name}: \d+ bytes, not {len(content)}"):
                InvertedIndex.open(copy)
        file.write_bytes(content)
    InvertedIndex.open(copy).close()


def test_a_changed_byte_is_never_served(copy: Path) -> None:
    """Wherever it is: nothing that reads it answers, a merge refuses to write it anew, and the check names the file."""
    queries = random_rows(5, 400, 20, seed=2)
    with InvertedIndex.open(copy) as index:
        truth = [index.search(queries, 5, mode).ids for mode in MODES]
    (file,) = files(copy)
    content = bytearray(file.read_bytes())
    refused = 0
    for place in range(0, len(content), len(content) // 40):
        content[place] ^= 4
        file.write_bytes(content)
        try:
            with InvertedIndex.open(copy) as index:
                assert any(file.name in problem for problem in index.check().problems)
                with pytest.raises(CorruptIndexError, match=f"{file.name}: .*damaged"):
                    index._storage.snapshot.segments[0].arrays()
                for mode, expected in zip(MODES, truth):
                    try:
                        assert index.search(queries, 5, mode).ids == expected
                    except CorruptIndexError as error:
                        refused += 1
                        assert "content is damaged" in str(error)
        except CorruptIndexError as error:
            assert f"{file.name}: its content is damaged" in str(error)
        content[place] ^= 4
    assert refused > 40
    file.write_bytes(content)
    assert [InvertedIndex.open(copy).search(queries, 5, mode).ids for mode in MODES] == truth


def test_a_merge_never_makes_damage_look_whole(tmp_path: Path) -> None:
    rows = random_rows(40, 400, 40, seed=1, positions=True)
    with InvertedIndex.create(tmp_path / "i", 400) as index:
        for first in range(0, 14, 2):
            index.add([f"d{first}", f"d{first + 1}"], rows[first : first + 2])
        index.delete(["d1"])
    file = files(tmp_path / "i")[3]
    change(file, 600)
    before = {file: file.read_bytes() for file in files(tmp_path / "i")}
    with InvertedIndex.open(tmp_path / "i") as index:
        with pytest.raises(CorruptIndexError, match=file.name):
            index.merge()
        with pytest.raises(CorruptIndexError, match=file.name):
            index.add(["last"], rows[20:21])  # would merge eight segments into one, after its commit
        assert "last" in index and index.check().segments == 8 and not index.check().ok
    assert {file: file.read_bytes() for file in before} == before


def test_damage_elsewhere_is_met_when_it_is_read(tmp_path: Path) -> None:
    """What a search does not read is not compared, so that opening a large index takes no time."""
    with InvertedIndex.create(tmp_path / "i", 3000) as index:
        index.add([f"d{i}" for i in range(3000)], random_rows(3000, 3000, 600, seed=1))
        queries = [SparseRows.from_dicts([{column: 1.0}], 3000) for column in (40, 1500, 2960)]
        truth = [index.search(query, 5).ids for query in queries]
        postings = index._storage.snapshot.segments[0]._file
    _, _, start = postings._places["postings.rows"]
    change(files(tmp_path / "i")[0], start + postings.sizes["postings.rows"] // 2)
    with InvertedIndex.open(tmp_path / "i") as index:
        assert [index.search(queries[i], 5).ids for i in (0, 2)] == [truth[0], truth[2]]
        with pytest.raises(CorruptIndexError, match="content is damaged"):
            index.search(queries[1], 5)
        assert index.search(queries[0], 5).ids == truth[0]


def test_rot_that_leaves_no_trace_is_found_by_the_check(whole: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(whole, tmp_path / "i", copy_function=shutil.copy2))
    (file,) = files(path)
    with InvertedIndex.open(path) as index:
        index.search(random_rows(5, 400, 20, seed=2), 5)  # all of it has been read and compared
        assert index.check().ok
        change(file, 600)
        report = index.check()
    assert not report.ok and file.name in str(report)


def test_other_files_in_its_place_are_refused(copy: Path) -> None:
    (file,) = files(copy)
    content = file.read_bytes()
    file.unlink()
    with pytest.raises(CorruptIndexError, match="missing"):
        InvertedIndex.open(copy)
    file.mkdir()
    with pytest.raises(CorruptIndexError, match="not a file"):
        InvertedIndex.open(copy)
    file.rmdir()
    os.mkfifo(file)  # which would wait for a writer
    with pytest.raises(CorruptIndexError, match="not a file"):
        InvertedIndex.open(copy)
    file.unlink()
    with InvertedIndex.create(copy.with_name("other"), 400, pruned=True) as index:
        index.add([f"d{i}" for i in range(300)], random_rows(300, 400, 40, seed=3, positions=True))
    shutil.copy(files(copy.with_name("other"))[0], file)
    os.truncate(file, len(content))
    with pytest.raises(CorruptIndexError, match="content is damaged"):
        InvertedIndex.open(copy)


def test_random_damages(tmp_path: Path) -> None:
    """`benchmarks/damage.py` does thousands."""
    trials = list(damage_repeatedly(tmp_path, 12, seed=1, kinds=["segments"]))
    assert [f"{trial.damage}: {fault}" for trial in trials for fault in trial.faults] == []
    assert sum(trial.refused > 0 for trial in trials) > 6


def test_foreign_and_damaged_catalogues_are_refused(copy: Path, tmp_path: Path) -> None:
    file = copy / "catalog.sqlite"
    content = file.read_bytes()
    file.write_bytes(b"not a database at all " * 100)
    with pytest.raises(CorruptIndexError, match="not a readable catalogue"):
        InvertedIndex.open(copy)
    file.unlink()
    with pytest.raises(CorruptIndexError, match="not an index"):
        InvertedIndex.open(copy)
    sqlite3.connect(file).execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(CorruptIndexError, match="catalogue"):
        InvertedIndex.open(copy)
    file.write_bytes(content)
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE settings SET value = '\"saelex-index/99\"' WHERE name = 'format'")
    connection.close()
    with pytest.raises(CorruptIndexError, match="saelex-index/99"):
        InvertedIndex.open(copy)


@pytest.mark.parametrize(
    ("table", "deleted", "inserted", "message"),
    [
        (catalog.TOMBSTONES, [], [(5,)], "document 5 is in the catalogue but has no rows"),
        (catalog.TOMBSTONES, [3], [], "document 3 has rows but is not in the catalogue"),
        (catalog.DOCUMENTS, [7], [], "id 'd7' is of no document"),
        (catalog.DOCUMENTS, [7], [(7, "d7", "[[0, 1], [1, 2], [2, 3]]", None, b"")], "document 7 has 1 rows for 3"),
        (catalog.DOCUMENTS, [7], [(7, "e7", None, None, b"")], "document 7 ('e7') is under another id or none"),
        (catalog.IDS, [], [("x", 900)], "id 'x' is of no document"),
        (catalog.TOMBSTONES, [], [(900,)], "no rows left to hide"),
        (catalog.WORDS, [2], [], "words: "),
        (catalog.WORDS, [0], [], "words: "),
        (catalog.WORDS, list(range(4, 100)), [], "columns, the latents and the words in the catalogue are 8196"),
    ],
)
def test_the_check_compares_the_catalogue_with_the_segments(
    tmp_path: Path, table: Table, deleted: list[int], inserted: list[tuple[Any, ...]], message: str
) -> None:
    with Index.create(tmp_path / "i", FakeEncoder()) as index:
        index.add(make_documents(12))
        index.delete(["d3"])
        with index._storage.catalog.transaction() as lie:
            table.delete(lie._connection, deleted)
            table.insert(lie._connection, inserted)
        assert any(message in problem for problem in index.check().problems), str(index.check())


@pytest.mark.parametrize(
    "lie",
    [
        "UPDATE settings SET value = value + 1 WHERE name = 'generation'",
        "DELETE FROM settings WHERE name = 'bits'",
        "DELETE FROM documents WHERE number = 7",
        "UPDATE documents SET metadata = '{}' WHERE number = 7",
        "DELETE FROM ids WHERE id = 'd7'",
        "UPDATE ids SET number = 8 WHERE id = 'd7'",
        "UPDATE texts SET text = 'other' WHERE number = 7",
        "DELETE FROM tombstones",
        "INSERT INTO tombstones VALUES (5, 0)",
        "DELETE FROM words WHERE dimension = 2",
        "UPDATE words SET word = 'other' WHERE dimension = 2",
        "DELETE FROM states",
        "UPDATE segments SET first_passage = 1",
        "UPDATE totals SET n_rows = 5 WHERE name = 'words'",
        "DELETE FROM totals WHERE name = 'texts'",
        "CREATE TABLE mine (x)",
        "CREATE INDEX mine ON documents (id)",
    ],
)
def test_what_others_change_in_the_catalogue_is_damage(tmp_path: Path, lie: str) -> None:
    with Index.create(tmp_path / "i", FakeEncoder()) as index:
        index.add(make_documents(12))
        index.delete(["d3"])
        assert index.check().ok
    with closing(sqlite3.connect(tmp_path / "i" / "catalog.sqlite")) as connection, connection:
        connection.execute(lie)
    try:
        with Index.open(tmp_path / "i", FakeEncoder()) as index:
            problems = index.check().problems
    except CorruptIndexError as error:
        problems = [str(error)]
    assert problems and not any("\n" in problem for problem in problems)


def test_the_check_compares_arrays_with_each_other(whole: Path) -> None:
    with InvertedIndex.open(whole) as index:
        arrays = index._storage.snapshot.segments[0].arrays()
    assert list(array_problems(arrays)) == []
    assert arrays.forward is not None
    other = arrays.postings.weights.copy()
    other[0] += 1
    shuffled = arrays.postings.rows.copy()
    shuffled[:2] = shuffled[1::-1]
    far = arrays.postings.rows.copy()
    far[-1] = 300
    beyond = arrays.forward.latents.copy()
    beyond[0] = 1 << 30
    for damaged, message in (
        (arrays._replace(forward=arrays.forward._replace(latents=beyond)), "forward rows: an entry lies outside"),
        (arrays._replace(postings=arrays.postings._replace(weights=other)), "postings and forward rows differ"),
        (arrays._replace(postings=arrays.postings._replace(rows=shuffled)), "out of order"),
        (arrays._replace(postings=arrays.postings._replace(rows=far)), "outside 0..299"),
        (arrays._replace(postings=arrays.postings._replace(indptr=arrays.postings.indptr + 1)), "borders are wrong"),
        (arrays._replace(passages=arrays.passages[::-1]), "passages are out of order"),
    ):
        assert any(message in problem for problem in array_problems(damaged)), message


def test_the_check_of_an_index_reads_its_labels(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", FakeEncoder()) as index:
        index.add(make_documents(8))
        index.label()
        assert index.check().ok
        path = tmp_path / "i" / "concepts.sqlite"
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        assert any("concepts.sqlite: damaged" in problem for problem in index.check().problems)
