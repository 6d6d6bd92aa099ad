"""Damaged, truncated and foreign files: one clear error, never a crash of the process."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from tests.index.fakes import FakeEncoder, make_documents, random_rows

from saelex.errors import CorruptIndexError
from saelex.index.disk.checking import array_problems
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
    catalog = copy / "catalog.sqlite"
    content = catalog.read_bytes()
    catalog.write_bytes(b"not a database at all " * 100)
    with pytest.raises(CorruptIndexError, match="not a readable catalogue"):
        InvertedIndex.open(copy)
    catalog.unlink()
    with pytest.raises(CorruptIndexError, match="not an index"):
        InvertedIndex.open(copy)
    sqlite3.connect(catalog).execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(CorruptIndexError, match="catalogue"):
        InvertedIndex.open(copy)
    catalog.write_bytes(content)
    with sqlite3.connect(catalog) as connection:
        connection.execute("UPDATE settings SET value = '\"saelex-index/99\"' WHERE name = 'format'")
    connection.close()
    with pytest.raises(CorruptIndexError, match="saelex-index/99"):
        InvertedIndex.open(copy)


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        ("INSERT INTO tombstones VALUES (5)", "document 5 is in the catalogue but has no rows"),
        ("DELETE FROM tombstones", "document 3 has rows but is not in the catalogue"),
        ("DELETE FROM documents WHERE number = 7", "document 7 has rows but is not in the catalogue"),
        ("UPDATE documents SET n_passages = 3 WHERE number = 7", "'d7': passages are missing"),
        ("INSERT INTO passages VALUES (900, 900, 0, 1)", "passage 900 belongs to no document"),
        ("INSERT INTO tombstones VALUES (900)", "no rows left to hide"),
        ("DELETE FROM words WHERE dimension = 2", "words: "),
        ("DELETE FROM words WHERE dimension = 0", "words: "),
        ("DELETE FROM words WHERE dimension > 3", "columns, the latents and the words in the catalogue are 8196"),
    ],
)
def test_the_check_compares_the_catalogue_with_the_segments(tmp_path: Path, lie: str, message: str) -> None:
    with Index.create(tmp_path / "i", FakeEncoder()) as index:
        index.add(make_documents(12))
        index.delete(["d3"])
        with sqlite3.connect(tmp_path / "i" / "catalog.sqlite") as catalog:
            catalog.execute(lie)
            catalog.execute("UPDATE settings SET value = value + 1 WHERE name = 'generation'")
        catalog.close()
        assert any(message in problem for problem in index.check().problems), str(index.check())


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
