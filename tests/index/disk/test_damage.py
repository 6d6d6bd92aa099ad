"""Damaged, truncated and foreign files: one clear error, never a crash of the process."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.index.fakes import FakeEncoder, make_documents, random_rows

from saelex.errors import CorruptIndexError
from saelex.index.disk import catalog
from saelex.index.disk.checking import array_problems
from saelex.index.disk.tables import Table
from saelex.index.index import Index
from saelex.index.inverted import InvertedIndex


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
    return sorted((path / "segments").rglob("*.npy"))


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


def test_a_changed_byte_is_an_error_on_opening(copy: Path) -> None:
    for file in files(copy):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 4
        file.write_bytes(content)
        with pytest.raises(CorruptIndexError, match=f"{file.name}: its content is damaged"):
            InvertedIndex.open(copy)
        content[len(content) // 2] ^= 4
        file.write_bytes(content)


def test_rot_that_leaves_no_trace_is_found_by_the_check(whole: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(whole, tmp_path / "i", copy_function=shutil.copy2))
    file = next(file for file in files(path) if file.name == "postings.weights.npy")
    status, content = file.stat(), bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    with InvertedIndex.open(path) as index:
        report = index.check()
    assert not report.ok and "postings.weights.npy" in str(report)


def test_a_missing_file_is_an_error(copy: Path) -> None:
    files(copy)[0].unlink()
    with pytest.raises(CorruptIndexError, match="missing"):
        InvertedIndex.open(copy)


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
        arrays = index._storage.snapshot.segments[0].arrays
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
