from __future__ import annotations

from pathlib import Path

import pytest
from tests.corpus.sources.files import CORPUS, QRELS, write_beir, write_jsonl

from saelex.corpus.documents import Document, Query
from saelex.corpus.opening import named_split, read_collection
from saelex.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_beir(tmp_path / "tiny")


def test_only_judged_queries_in_file_order(folder: Path) -> None:
    collection = read_collection(folder)
    assert (collection.name, collection.split, collection.label) == ("tiny", "test", "tiny:test")
    assert collection.source == str(folder)
    assert [query.id for query in collection.queries] == ["q2", "q1"]
    assert collection.qrels == QRELS
    assert [document.id for document in collection.documents()] == ["d1", "d2", "d3"]
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


# ---- pairs ----------------------------------------------------------------------------------------------------------


def test_queries_of_one_language_over_documents_of_another(tmp_path: Path) -> None:
    german, english = (write_beir(tmp_path / name, f"{name} ") for name in ("de", "en"))
    collection = read_collection(f"{german}+{english}")
    assert (collection.label, collection.source) == ("de+en:test", f"{german}+{english}")
    assert collection.queries == [Query("q2", "de money"), Query("q1", "de what lifts")]
    assert collection.qrels == QRELS
    assert next(collection.documents()) == Document("d1", "en of wings", "Lift")
    assert len(list(collection.documents())) == len(CORPUS)


def test_the_sides_of_a_pair_must_agree(tmp_path: Path) -> None:
    german, english = (write_beir(tmp_path / name) for name in ("de", "en"))
    (english / "qrels" / "test.tsv").write_text("q1\td1\t2\nq1\td2\t0\nq2\td3\t2\n")
    with pytest.raises(InputError, match=r"de and .*en judge 1 queries differently, 'q2' among them$"):
        read_collection(f"{german}+{english}")
    with pytest.raises(InputError, match=r"fr: no such folder"):
        read_collection(f"{german}+{tmp_path / 'fr'}")


def test_a_plus_may_be_part_of_a_path(tmp_path: Path) -> None:
    german, english = (write_beir(tmp_path / "c++" / name) for name in ("de", "en"))
    assert read_collection(german).name == "de"
    assert read_collection(f"{german}+{english}").name == "de+en"
    assert read_collection(*named_split(f"{german}:test+{english}:test")).name == "de+en"


# ---- files of TREC --------------------------------------------------------------------------------------------------


def test_topics_qrels_and_corpus_as_files(tmp_path: Path) -> None:
    corpus = write_jsonl(tmp_path / "docs.jsonl", CORPUS)
    (tmp_path / "topics.dl.txt").write_text("<top>\n<num> Number: q1\n<title> what lifts\n</top>\n")
    (tmp_path / "qrels.txt").write_text("q1 0 d1 2\nq1 0 d2 -1\n")
    source = f"trec:{tmp_path / 'topics.dl.txt'},{tmp_path / 'qrels.txt'},{corpus}"
    collection = read_collection(*named_split(source))
    assert (collection.label, collection.source) == ("topics.dl", source)
    assert collection.queries == [Query("q1", "what lifts")]
    assert collection.qrels == {"q1": {"d1": 2, "d2": -1}}
    assert [document.id for document in collection.documents()] == ["d1", "d2", "d3"]
    with pytest.raises(InputError, match="name three files, as in trec:topics"):
        read_collection("trec:topics.txt,qrels.txt")
    with pytest.raises(InputError, match="none: no such file"):
        read_collection(source.replace(str(corpus), str(tmp_path / "none")))


# ---- splits in names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("a/b", ("a/b", "test")),
        ("a/b:dev", ("a/b", "dev")),
        ("a/c++:dev", ("a/c++", "dev")),
        ("a/de+a/en:dev", ("a/de+a/en", "dev")),
        ("hf:owner/name", ("hf:owner/name", "test")),
        ("hf:name", ("hf:name", "test")),
        ("hf:owner/name@main/de:dev", ("hf:owner/name@main/de", "dev")),
        ("hf:owner/name/de+hf:owner/name/en", ("hf:owner/name/de+hf:owner/name/en", "test")),
        ("ir_datasets:cranfield", ("ir_datasets:cranfield", "test")),
        ("ir_datasets:beir/scifact/dev", ("ir_datasets:beir/scifact/dev", "test")),
        ("trec:a:b,c,d+e", ("trec:a:b,c,d+e", "test")),
        ("C:\\data\\set", ("C:\\data\\set", "test")),
    ],
)
def test_a_split_may_stand_behind_the_source(source: str, found: tuple[str, str]) -> None:
    assert named_split(source, "test") == found


def test_a_path_with_a_colon_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "odd:name").mkdir()
    assert named_split(f"{tmp_path}/odd:name", "test") == (f"{tmp_path}/odd:name", "test")
