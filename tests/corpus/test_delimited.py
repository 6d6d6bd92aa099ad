from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saelex.corpus.documents import Document, Query
from saelex.corpus.reading import read_corpus, read_qrels, read_queries
from saelex.errors import InputError

TEXT = 'He said "hi",\nthen\tleft; done'


def written(path: Path, rows: list[list[Any]], *, encoding: str = "utf-8", **dialect: Any) -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, **dialect).writerows(rows)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize(
    ("name", "delimiter", "end"),
    [("c.csv", ",", "\r\n"), ("c.csv", ";", "\n"), ("c.csv", "\t", "\n"), ("c.tsv", "\t", "\r\n")],
)
def test_what_a_csv_writer_writes_comes_back(
    tmp_path: Path, encoding: str, quoting: Any, name: str, delimiter: str, end: str
) -> None:
    rows = [["text", "id", "title", "year", "code"], [TEXT, "a", "T, one", 2001, "007"], ["x", "b", "", "", ""]]
    path = written(tmp_path / name, rows, encoding=encoding, quoting=quoting, delimiter=delimiter, lineterminator=end)
    assert list(read_corpus(path)) == [
        Document("a", TEXT, "T, one", {"year": 2001, "code": "007"}),
        Document("b", "x"),
    ]


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\x00")), max_size=4))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    rows = [["id", "text"], *([f"d{number}", text] for number, text in enumerate(texts))]
    for name, delimiter in (("c.csv", ","), ("c.tsv", "\t")):
        path = written(tmp_path_factory.mktemp("any") / name, rows, delimiter=delimiter)
        assert [document.text for document in read_corpus(path)] == texts


def test_pandas_index_column_is_left_out(tmp_path: Path) -> None:
    path = written(tmp_path / "c.csv", [["", "id", "text"], [0, "a", "x"]])
    assert list(read_corpus(path)) == [Document("a", "x")]


def test_fields_can_be_named_in_every_form(tmp_path: Path) -> None:
    wanted = [Document("a", "x", "T", {"text": "kept"})]
    rows = [["docno", "body", "heading", "text"], ["a", "x", "T", "kept"]]
    names = {"id_field": "docno", "text_field": "body", "title_field": "heading"}
    json_lines = tmp_path / "c.jsonl"
    json_lines.write_text('{"docno": "a", "body": "x", "heading": "T", "text": "kept"}\n')
    for path in (
        written(tmp_path / "c.csv", rows),
        written(tmp_path / "c.tsv", rows, delimiter="\t"),
        json_lines,
    ):
        assert list(read_corpus(path, **names)) == wanted
        with pytest.raises(InputError, match=r":1: no (column|field) '?nope'?.*title_field \(--title-field\)"):
            list(read_corpus(path, id_field="docno", text_field="body", title_field="nope"))
    queries = written(tmp_path / "q.csv", [["qid", "query"], ["1", "what, now?"]])
    assert list(read_queries(queries, id_field="qid", text_field="query")) == [Query("1", "what, now?")]


@pytest.mark.parametrize("name", ["c.csv", "c.tsv"])
def test_a_header_of_other_names_is_no_document(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, [["doc_id", "contents"], ["a", "x"]], delimiter="\t")
    with pytest.raises(InputError, match=r":1: no column _id or id .*\(doc_id, contents\); .* --id-field|id_field"):
        list(read_corpus(path))


@pytest.mark.parametrize("first", ["id\tabstract", "Doc ID\tBody of text", "pid\theading\ttext"])
def test_a_tsv_whose_first_cell_is_an_ids_name_has_a_header(tmp_path: Path, first: str) -> None:
    path = tmp_path / "c.tsv"
    path.write_text(f"{first}\n1\tx\n")
    with pytest.raises(InputError, match=r"c\.tsv:1: no column .* in the first row, which is taken for the header"):
        list(read_corpus(path))


def test_quotes_are_text_in_tsv_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "c.tsv"
    path.write_text('1\t"To be" he said\n2\t"open\n3\tclosed"\n')
    assert [document.text for document in read_corpus(path)] == ['"To be" he said', '"open', 'closed"']
    quoted = written(tmp_path / "q.tsv", [["1", TEXT], ["2", "x"]], delimiter="\t", quoting=csv.QUOTE_ALL)
    assert [document.text for document in read_corpus(quoted)] == [TEXT, "x"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('id,text\n\na,"open\nb,c\n', ":3: not CSV, in the row that begins here"),
        ('id,text\na,"x"y\nb,c\n', ":2: not CSV"),
        ("id,text\na,x,y\n", ":2: 3 columns where the first line has 2"),
        ("id,id,text\n", ":1: two columns are called 'id'"),
        ("id,text\n,x\n", ":2: no id"),
        ("id,text\ra,b\r", ":1: not CSV"),
        ("id,text\na,x\na,y\n", ":3: a second document"),
    ],
)
def test_bad_tables_are_named_by_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "c.csv"
    path.write_bytes(content.encode())
    with pytest.raises(InputError) as caught:
        list(read_corpus(path))
    assert f"c.csv{message}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_row_beyond_the_bound_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAELEX_MAX_RECORD_MB", "1")
    path = written(tmp_path / "c.csv", [["id", "text"], ["a", "x\n" * (1 << 18)], ["b", "x\n" * (1 << 20)]])
    documents = read_corpus(path)
    assert len(next(documents).text) == 1 << 19  # beyond the csv module's own 128 KiB
    with pytest.raises(InputError, match=r"a row .* of more than 1 MiB"):
        next(documents)


@pytest.mark.parametrize(
    ("name", "rows", "dialect"),
    [
        ("q.csv", [["query-id", "corpus-id", "score"], ["q,1", 'd"1', 2], ["q2", "d2", -1]], {}),
        ("q.csv", [["", "grade", "doc_id", "qid", "note"], [0, 2, 'd"1', "q,1", "x"], [1, -1, "d2", "q2", ""]], {}),
        ("q.tsv", [["Query_ID", "docid", "relevance"], ["q,1", 'd"1', 2], ["q2", "d2", -1]], {"delimiter": "\t"}),
        ("q.tsv", [["q,1", 'd"1', 2], ["q2", "d2", -1]], {"delimiter": "\t", "quoting": csv.QUOTE_ALL}),
        ("q.csv", [["q,1", 'd"1', 2], ["q2", "d2", -1]], {"delimiter": ";"}),
    ],
)
def test_judgements_that_a_csv_writer_wrote(
    tmp_path: Path, name: str, rows: list[list[Any]], dialect: dict[str, Any]
) -> None:
    assert read_qrels(written(tmp_path / name, rows, **dialect)) == {"q,1": {'d"1': 2}, "q2": {"d2": -1}}


def test_an_id_that_only_begins_with_a_quote_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "q.tsv"
    path.write_text('query-id\tcorpus-id\tscore\nq\t"Heroes"_(album)\t1\n')
    assert read_qrels(path) == {"q": {'"Heroes"_(album)': 1}}
