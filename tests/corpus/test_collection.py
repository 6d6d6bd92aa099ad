from __future__ import annotations

import json
from pathlib import Path

import pytest

from saelex.corpus.collection import named_split, read_collection
from saelex.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "tiny"
    (root / "qrels").mkdir(parents=True)
    corpus = [{"_id": str(i), "title": "", "text": f"text {i}"} for i in range(3)]
    queries = [{"_id": name, "text": f"query {name}"} for name in "abc"]
    (root / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (root / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (root / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nc\t0\t1\na\t2\t2\n")
    return root


def test_only_judged_queries_in_file_order(folder: Path) -> None:
    collection = read_collection(folder)
    assert (collection.name, collection.split) == ("tiny", "test")
    assert [query.id for query in collection.queries] == ["a", "c"]
    assert collection.qrels == {"a": {"2": 2}, "c": {"0": 1}}
    assert [document.id for document in collection.documents()] == ["0", "1", "2"]
    assert len(list(collection.documents())) == 3  # can be read again


def test_an_unknown_split_names_the_known_ones(folder: Path) -> None:
    with pytest.raises(InputError, match=r"no split 'dev'; it has test$"):
        read_collection(folder, "dev")


def test_judged_queries_must_have_a_text(folder: Path) -> None:
    (folder / "qrels" / "bad.tsv").write_text("zz\t0\t1\n")
    with pytest.raises(InputError, match="1 judged queries of bad have no text, 'zz' among them"):
        read_collection(folder, "bad")


def test_not_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_collection(tmp_path / "nothing")


def test_a_split_may_stand_behind_the_folder(tmp_path: Path) -> None:
    assert named_split("a/b", "test") == ("a/b", "test")
    assert named_split("a/b:dev", "test") == ("a/b", "dev")
    (tmp_path / "odd:name").mkdir()
    assert named_split(f"{tmp_path}/odd:name", "test") == (f"{tmp_path}/odd:name", "test")
