"""mteb's layout: in folders, some read by `datasets`, and on the hub, with `datasets` replaced."""

from __future__ import annotations

import gzip
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.corpus.sources.files import CORPUS, QRELS, QUERIES, ROWS, write_beir, write_jsonl

from saelex.corpus.collection import Collection
from saelex.corpus.documents import Document, Query
from saelex.corpus.opening import read_collection
from saelex.corpus.sources import hub, mteb_layout
from saelex.errors import InputError

README = """---
configs:
- config_name: default
  data_files:
  - {split: test, path: judgements/a.jsonl}
  - {split: dev, path: judgements/b.jsonl}
- config_name: corpus
  data_files: [{split: corpus, path: texts.jsonl}]
- config_name: queries
  data_files: [{split: queries, path: asked.jsonl}]
---
# A copy of a hub repository
"""


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def jsonl_folder(root: Path) -> Path:
    write_jsonl(root / "corpus.jsonl", CORPUS)
    write_jsonl(root / "queries.jsonl", QUERIES)
    write_jsonl(root / "qrels" / "test.jsonl", ROWS)
    write_jsonl(root / "qrels" / "dev.jsonl", ROWS[2:])
    return root


def parquet_folder(root: Path) -> Path:
    write_parquet(root / "corpus" / "test-00000-of-00002.parquet", CORPUS[:2])
    write_parquet(root / "corpus" / "test-00001-of-00002.parquet", CORPUS[2:])
    write_parquet(root / "queries" / "test-00000-of-00001.parquet", QUERIES)
    write_parquet(root / "data" / "test-00000-of-00001.parquet", [{**row, "score": row["score"] * 1.0} for row in ROWS])
    return root


def gzipped_folder(root: Path) -> Path:
    """The names of columns that newer data sets have."""
    renamed = [{"id": row["_id"], "text": row["text"]} for row in QUERIES]
    for path in (
        write_jsonl(root / "default" / "test.jsonl", ROWS),
        write_jsonl(root / "corpus" / "corpus.jsonl", CORPUS),
        write_jsonl(root / "query.jsonl", renamed),
        write_jsonl(root / "queries.jsonl", QUERIES[:1]),  # mteb reads `query` where there is one
    ):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    return root


def copied_folder(root: Path) -> Path:
    write_jsonl(root / "texts.jsonl", CORPUS)
    write_jsonl(root / "asked.jsonl", QUERIES)
    write_jsonl(root / "judgements" / "a.jsonl", ROWS)
    write_jsonl(root / "judgements" / "b.jsonl", ROWS[2:])
    (root / "README.md").write_text(README)
    return root


def check(collection: Collection) -> None:
    assert collection.qrels == QRELS
    assert collection.queries == [Query("q2", "money"), Query("q1", "what lifts")]
    documents = list(collection.documents())
    assert documents == [Document("d1", "of wings", "Lift"), Document("d2", "drag"), Document("d3", "a bank")]
    assert list(collection.documents()) == documents


@pytest.mark.parametrize("write", [jsonl_folder, parquet_folder, gzipped_folder, copied_folder])
def test_a_folder(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    root = write(tmp_path / "toy")
    collection = read_collection(root)
    check(collection)
    assert (collection.name, collection.split, collection.source) == ("toy", "test", str(root))
    check(read_collection(f"hf:{root}"))


@pytest.mark.parametrize("write", [jsonl_folder, copied_folder])
def test_splits(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    root = write(tmp_path / "toy")
    assert read_collection(root, "dev").qrels == {"q2": {"d3": 1}}
    assert [query.id for query in read_collection(root, "dev").queries] == ["q2"]
    with pytest.raises(InputError, match=r"has no split 'train'; it has (dev, test|test, dev)$"):
        read_collection(root, "train")


def test_the_only_split_is_named_and_not_taken_for_another(tmp_path: Path) -> None:
    root = jsonl_folder(tmp_path / "toy")
    (root / "qrels" / "test.jsonl").unlink()
    assert (read_collection(root, "test").split, read_collection(root).label) == ("dev", "toy:dev")
    write_jsonl(root / "qrels.jsonl", ROWS)
    (root / "qrels" / "dev.jsonl").unlink()
    assert read_collection(root, "test").split == "test"  # the file names no split


def test_shards_that_are_missing_are_said(tmp_path: Path) -> None:
    root = parquet_folder(tmp_path / "toy")
    (root / "corpus" / "test-00001-of-00002.parquet").unlink()
    with pytest.raises(InputError, match=r"test-00000-of-00002\.parquet: one of 2 files, and 1 are there"):
        list(read_collection(root).documents())


def test_folders_beside_it_may_be_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "private").mkdir()
    content = Path.iterdir

    def refusing(path: Path) -> Any:
        if path.name == "private":
            raise PermissionError(13, "Permission denied", str(path))
        return content(path)

    monkeypatch.setattr(Path, "iterdir", refusing)
    with pytest.raises(InputError, match="typo: no such folder"):
        read_collection(tmp_path / "typo")


def test_a_beir_folder_with_a_readme_is_beirs(tmp_path: Path) -> None:
    root = write_beir(tmp_path / "toy")
    (root / "README.md").write_text(README)
    check(read_collection(root))


def test_a_subset_has_configs_of_its_own(tmp_path: Path) -> None:
    root = tmp_path / "many"
    for subset, text in (("de", "Auftrieb"), ("en", "lift")):
        write_jsonl(root / f"{subset}-corpus" / "test.jsonl", [{"id": 1, "text": text}])
        write_jsonl(root / f"{subset}-queries" / "test.jsonl", [{"id": 2, "text": f"was {text}"}])
        write_jsonl(root / f"{subset}-qrels" / "test.jsonl", [{"query-id": 2, "corpus-id": 1, "score": "1"}])
    collection = read_collection(f"{root}/de")
    assert (collection.name, collection.qrels) == ("many/de", {"2": {"1": 1}})
    assert list(collection.documents()) == [Document("1", "Auftrieb")]
    pair = read_collection(f"{root}/de+hf:{root}/en")
    assert (pair.queries, list(pair.documents())) == ([Query("2", "was Auftrieb")], [Document("1", "lift")])
    with pytest.raises(InputError, match="no such folder"):
        read_collection(f"{root}/fr")


def test_instructions_stand_behind_the_query(tmp_path: Path) -> None:
    root = jsonl_folder(tmp_path / "toy")
    write_jsonl(root / "queries.jsonl", [{**row, "instruction": f"for {row['_id']}"} for row in QUERIES[:2]])
    assert read_collection(root).queries == [Query("q2", "money for q2"), Query("q1", "what lifts for q1")]
    write_jsonl(root / "instruction.jsonl", [{"query-id": "q1", "instruction": "briefly"}])
    assert read_collection(root).queries == [Query("q2", "money for q2"), Query("q1", "what lifts briefly")]


def test_a_reranking_task_is_said_to_be_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = jsonl_folder(tmp_path / "toy")
    write_jsonl(root / "top_ranked.jsonl", [{"query-id": "q1", "corpus-ids": ["d1"]}])
    with caplog.at_level(logging.WARNING):
        check(read_collection(root))
    assert "is for reranking given candidates" in caplog.text


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("qrels/test.jsonl", {"query-id": "q1", "corpus-id": "d1", "score": 0.5}, ":1: score must be a whole number"),
        ("qrels/test.jsonl", {"query-id": "q1", "corpus-id": "d1"}, ":1: score must be a whole number, not None"),
        ("qrels/test.jsonl", {"query": "q1", "corpus-id": "d1", "score": 1}, ":1: no query-id: every row needs"),
        ("qrels/test.jsonl", {"query-id": "q1", "corpus-id": " ", "score": 1}, ":1: no corpus-id: every row needs"),
        ("queries.jsonl", {"_id": "q1", "text": ["a", "talk"]}, ":1: no text"),
        ("queries.jsonl", {"text": "x"}, ":1: no id"),
        ("corpus.jsonl", {"_id": "d1", "image": "x"}, ":1: no text"),
        ("corpus.jsonl", ["d1"], ":1: a JSON object is expected, not list"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, name: str, row: Any, message: str) -> None:
    root = jsonl_folder(tmp_path / "toy")
    write_jsonl(root / name, [row])
    with pytest.raises(InputError) as caught:
        list(read_collection(root).documents())
    assert str(caught.value).startswith(f"{root / name}{message}")


def test_two_of_one_id_and_two_grades_are_refused(tmp_path: Path) -> None:
    root = jsonl_folder(tmp_path / "toy")
    write_jsonl(root / "corpus.jsonl", [*CORPUS, CORPUS[0]])
    with pytest.raises(InputError, match=r"corpus\.jsonl:4: a second document with the id 'd1'"):
        list(read_collection(root).documents())
    write_jsonl(root / "qrels" / "test.jsonl", [*ROWS, {**ROWS[0], "score": 0}])
    with pytest.raises(InputError, match=r"test\.jsonl:4: query 'q1' and document 'd1' have two grades"):
        read_collection(root)


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    root = parquet_folder(tmp_path / "toy")
    (root / "queries" / "test-00000-of-00001.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        read_collection(root)


# ---- the hub --------------------------------------------------------------------------------------------------------


class FakeHub:
    """The four names of `datasets` that are used, over tables in memory; says what it was asked."""

    def __init__(self, tables: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
        self.tables = tables
        self.asked: set[tuple[str, str | None]] = set()
        self.exceptions = SimpleNamespace(DatasetsError=type("DatasetsError", (Exception,), {}))

    def get_dataset_config_names(self, path: str, *, revision: str | None) -> list[str]:
        self.asked.add((path, revision))
        if path != "owner/toy":
            raise self.exceptions.DatasetsError(f"{path} does not exist\nor is gated")
        return list(self.tables)

    def get_dataset_split_names(self, path: str, config: str, *, revision: str | None) -> list[str]:
        self.asked.add((path, revision))
        return list(self.tables[config])

    def load_dataset(
        self, path: str, config: str, *, split: str, streaming: bool, revision: str | None
    ) -> list[dict[str, Any]]:
        assert streaming
        self.asked.add((path, revision))
        return self.tables[config][split]


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    tables = {"corpus": {"corpus": CORPUS}, "queries": {"queries": QUERIES}, "default": {"test": ROWS, "dev": ROWS[2:]}}
    tables |= {f"de-{name}": tables[name] for name in ("corpus", "queries")} | {"de-qrels": {"test": ROWS}}
    fake = FakeHub(tables)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    monkeypatch.setattr(mteb_layout, "newest_revision", lambda repo: "c0ffee")
    return fake


def test_the_hub_stays_at_the_commit_that_was_newest(fake_hub: FakeHub) -> None:
    collection = read_collection("hf:owner/toy")
    check(collection)
    assert (collection.name, collection.split) == ("owner/toy", "test")
    assert collection.source == "hf:owner/toy@c0ffee"
    assert fake_hub.asked == {("owner/toy", "c0ffee")}


def test_a_revision_and_a_subset(fake_hub: FakeHub) -> None:
    collection = read_collection("hf:owner/toy@v1/de")
    check(collection)
    assert (collection.name, collection.source) == ("owner/toy/de", "hf:owner/toy@v1/de")
    assert fake_hub.asked == {("owner/toy", "v1")}
    assert read_collection("hf:owner/toy/default").name == "owner/toy"
    with pytest.raises(
        InputError, match=r"^hf:owner/toy@c0ffee/fr: no config 'fr-qrels', as mteb's layout has; it has"
    ):
        read_collection("hf:owner/toy/fr")


def test_what_the_hub_does_not_have(fake_hub: FakeHub) -> None:
    with pytest.raises(InputError, match=r"^owner/none: cannot be loaded as a data set: owner/none does not exist$"):
        read_collection("hf:owner/none")
    with pytest.raises(InputError, match="default has no split 'train'; it has test, dev"):
        read_collection("hf:owner/toy", "train")
    with pytest.raises(InputError, match=r"^hf:@: not hf:OWNER/NAME"):
        read_collection("hf:@")
    fake_hub.tables["corpus"]["corpus"] = [{"_id": "d1"}]
    with pytest.raises(InputError, match=r"^owner/toy corpus, row 1 of corpus: no text"):
        list(read_collection("hf:owner/toy").documents())


def test_without_datasets_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setattr(mteb_layout, "newest_revision", lambda repo: None)
    with pytest.raises(InputError, match=r"pip install 'saelex\[hub-data\]'"):
        read_collection("hf:owner/toy")


def test_a_hub_that_cannot_be_asked_names_no_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert hub.newest_revision("owner/toy") is None
