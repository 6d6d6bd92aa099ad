"""BEIR folders and mined Parquet: what a query's passages and scores are, worked out by hand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.training.examples.files import Row, write_beir, write_jsonl, write_rows

from saelex.errors import InputError
from saelex.training.examples.example import Passage
from saelex.training.examples.settings import Source
from saelex.training.examples.sources import SizedSource, open_source

DOCUMENTS = {
    "d1": "Rivers|the Danube",
    "d2": "the Rhine",
    "d3": "the Alps",
    "d4": "the Tatra",
    "d5": "the  Alps",  # d3 but for white space
    "d6": "nobody asks",
}
QUERIES = {"q1": "which river?", "q2": "which mountain?", "q3": "of another split"}
QRELS = [("q1", "d1", 2), ("q1", "d2", 1), ("q1", "d3", 0), ("q2", "d3", 1)]
ROWS: list[Row] = [
    ("q1", "d1", True, "qrels", 9.0),
    ("q1", "d2", True, "qrels", None),
    ("q1", "d3", False, "bm25", 1.5),
    ("q1", "d3", False, "minilm", 1.5),
    ("q1", "d4", False, "minilm", None),
    ("q2", "d2", False, "bm25", -2.0),
    ("q2", "d5", False, "minilm", 8.0),  # a false negative: the positive's text
    ("q3", "d1", False, "bm25", 0.0),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_beir(tmp_path / "rivers", DOCUMENTS, QUERIES, QRELS)


def opened(needs_scores: bool = False, **settings: object) -> SizedSource:
    source = open_source(Source(**settings), needs_scores=needs_scores)  # type: ignore[arg-type]
    assert isinstance(source, SizedSource)
    return source


def test_positives_are_the_relevant_documents_with_their_titles(folder: Path) -> None:
    source = opened(path=str(folder), kind="beir")
    assert source.size == 2
    assert source[0].query == "which river?"
    assert source[0].positives == (Passage("Rivers the Danube"), Passage("the Rhine"))
    assert source[0].negatives == () == source[1].negatives


def test_part_files_of_several_miners_are_merged(folder: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "mined" / "part-0.parquet", ROWS[:3])
    write_rows(tmp_path / "mined" / "part-1.parquet", ROWS[3:])
    source = opened(path=str(folder), kind="beir", negatives=str(tmp_path / "mined"))
    assert source[0].positives == (Passage("Rivers the Danube", 9.0), Passage("the Rhine"))
    assert set(source[0].negatives) == {Passage("the Alps", 1.5), Passage("the Tatra")}
    assert source[1].positives == (Passage("the Alps", 8.0),)
    assert source[1].negatives == (Passage("the Rhine", -2.0),)
    assert source.facts()["pairs"] == 6


def test_needs_scores_leaves_out_queries_without_a_scored_pair(folder: Path, tmp_path: Path) -> None:
    rows = [row for row in ROWS if row[:2] != ("q2", "d5")]  # the positive of q2 is then unscored
    mined = write_rows(tmp_path / "mined.parquet", rows)
    source = opened(True, path=str(folder), kind="beir", negatives=str(mined))
    assert [source[index].query for index in range(source.size)] == ["which river?"]
    assert source.facts()["queries_left_out"] == 1


def test_excluded_passages_vanish_with_queries_that_only_they_answer(folder: Path, tmp_path: Path) -> None:
    mined = write_rows(tmp_path / "mined.parquet", ROWS)
    test_set = [{"_id": "x", "text": "the\nAlps"}, {"_id": "y", "text": "the Danube"}, {"_id": "z", "text": ""}]
    write_jsonl(tmp_path / "test.jsonl", test_set)
    source = opened(path=str(folder), kind="beir", negatives=str(mined), exclude=[str(tmp_path / "test.jsonl")])
    assert source.size == 1  # q2 has lost the Alps
    assert source[0].positives == (Passage("the Rhine"),)  # the Danube has a title here and none in the test set
    assert source[0].negatives == (Passage("the Tatra"),)
    assert source.facts()["passages_left_out"] == 3  # d1, d3, d5


def test_queries_of_the_same_text_are_one(tmp_path: Path) -> None:
    """What answers the one is no negative of the other, though it was mined for it."""
    asked = {"q1": "what flows?", "q2": "what  flows?", "q3": "what stands?"}
    qrels = [("q1", "d1", 1), ("q2", "d2", 1), ("q3", "d4", 1)]
    folder = write_beir(tmp_path / "rivers", DOCUMENTS, asked, qrels)
    rows: list[Row] = [("q1", "d2", False, "bm25", 1.0), ("q2", "d2", True, "qrels", 2.0), ("q1", "d3", False, "", 0.5)]
    source = opened(path=str(folder), kind="beir", negatives=str(write_rows(tmp_path / "mined.parquet", rows)))
    assert source.size == 2
    assert source[0].positives == (Passage("Rivers the Danube"), Passage("the Rhine", 1.5))
    assert source[0].negatives == (Passage("the Alps", 0.5),)
    assert source.facts()["queries_left_out"] == 0


def test_what_the_miner_recorded_is_kept(folder: Path, tmp_path: Path) -> None:
    mined = write_rows(tmp_path / "mined.parquet", ROWS)
    table = pq.read_table(mined).replace_schema_metadata({"saelex": '{"teachers": ["cross"]}'})
    pq.write_table(table, mined)
    facts = opened(path=str(folder), kind="beir", negatives=str(mined)).facts()["negatives"]
    assert facts["made_by"] == {"teachers": ["cross"]}
    assert facts["sha256"] == hashlib.sha256(mined.read_bytes()).hexdigest()


def test_files_of_several_collections_are_refused(folder: Path, tmp_path: Path) -> None:
    """Their ids may be the same and mean other things."""
    for name in ("rivers", "towns"):
        table = pq.read_table(write_rows(tmp_path / "rows.parquet", ROWS))
        facts = json.dumps({"collection": {"name": name}})
        (tmp_path / "mined").mkdir(exist_ok=True)
        pq.write_table(table.replace_schema_metadata({"saelex": facts}), tmp_path / "mined" / f"{name}.parquet")
    with pytest.raises(InputError, match="mined: its files were made for 2 collections"):
        opened(path=str(folder), kind="beir", negatives=str(tmp_path / "mined"))


def test_parquet_with_texts_is_the_folder(folder: Path, tmp_path: Path) -> None:
    contents = {name: text.replace("|", " ") for name, text in DOCUMENTS.items()}
    rows: list[Row] = [*ROWS, ("q2", "d3", True, "qrels", None)]
    texts = {"query": [QUERIES[row[0]] for row in rows], "text": [contents[row[1]] for row in rows]}
    mined = write_rows(tmp_path / "mined.parquet", rows, **texts)
    shared = opened(path=str(mined), kind="parquet")
    beir = opened(path=str(folder), kind="beir", negatives=str(mined))
    assert shared.size == beir.size == 2  # nothing answers q3
    for index in range(2):
        assert shared[index].query == beir[index].query
        assert set(shared[index].positives) == set(beir[index].positives)
        assert set(shared[index].negatives) == set(beir[index].negatives)
    assert opened(path=str(mined), kind="parquet", max_queries=1).size == 1


def test_columns_can_have_other_names(tmp_path: Path) -> None:
    rows: list[Row] = [("1", "a", True, "", 1.0), ("1", "b", False, "", 0.5)]
    mined = write_rows(tmp_path / "mined.parquet", rows, frage=["wer?", "wer?"], passage=["ich", "du"])
    source = opened(path=str(mined), kind="parquet", columns={"query": "frage", "text": "passage"})
    assert source[0].query == "wer?"
    assert (source[0].positives, source[0].negatives) == ((Passage("ich", 1.0),), (Passage("du", 0.5),))


def test_what_is_wrong_is_said(folder: Path, tmp_path: Path) -> None:
    def refused(rows: list[Row], match: str) -> None:
        mined = write_rows(tmp_path / "mined.parquet", rows)
        with pytest.raises(InputError, match=match):
            opened(path=str(folder), kind="beir", negatives=str(mined))

    refused([("q1", "nowhere", False, "bm25", None)], "1 passages .* not in the corpus, 'nowhere'")
    refused([("q9", "d1", False, "bm25", None)], "names no query of this split")
    refused([("q1", "d3", False, "a", 1.0), ("q1", "d3", False, "b", 0.2)], "two scores for the query 'which river")
    with pytest.raises(InputError, match=r"mined\.parquet: no column query, text"):
        opened(path=str(tmp_path / "mined.parquet"), kind="parquet")
    with pytest.raises(InputError, match=r"none\.parquet: no Parquet here"):
        opened(path=str(folder), kind="beir", negatives=str(tmp_path / "none.parquet"))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"broken\.parquet: not a readable Parquet"):
        opened(path=str(folder), kind="beir", negatives=str(tmp_path / "broken.parquet"))
    with pytest.raises(InputError, match="unknown kind 'csv'"):
        opened(path=str(folder), kind="csv")
