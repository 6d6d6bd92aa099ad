from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saelex.corpus.documents import Document, Query
from saelex.corpus.reading import read_corpus, read_qrels, read_queries
from saelex.errors import InputError


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def test_content_joins_title_and_text_by_one_space() -> None:
    assert Document("1", "of wings", "lift").content == "lift of wings"
    assert Document("1", "of wings").content == "of wings"
    assert Document("1", "", "lift").content == "lift"


def test_jsonl_fields_and_metadata(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.jsonl",
        '{"_id": "a", "title": "Lift", "text": "wings", "year": 1950, "metadata": {"field": "aero"}}',
        "",
        '{"id": 7, "text": "drag", "title": null, "metadata": "free text"}',
    )
    assert list(read_corpus(path)) == [
        Document("a", "wings", "Lift", {"year": 1950, "field": "aero"}),
        Document("7", "drag", "", {"metadata": "free text"}),
    ]


@pytest.mark.parametrize("columns", [2, 3])
def test_tsv_has_two_or_three_columns(tmp_path: Path, columns: int) -> None:
    cells = [["a", "Lift", "wings"], ["b", "Drag", "air"]]
    path = write(tmp_path / "c.tsv", *("\t".join(row if columns == 3 else [row[0], row[2]]) for row in cells))
    wanted = [Document(name, text, title if columns == 3 else "") for name, title, text in cells]
    assert list(read_corpus(path)) == wanted


def test_gzip_and_beir_folder_read_the_same(tmp_path: Path) -> None:
    lines = [json.dumps({"_id": str(i), "text": f"text {i} ü"}, ensure_ascii=False) for i in range(5)]
    plain = write(tmp_path / "corpus.jsonl", *lines)
    packed = tmp_path / "other.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    folder = list(read_corpus(tmp_path))
    assert len(folder) == 5
    assert folder == list(read_corpus(plain)) == list(read_corpus(packed))


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(b'\xef\xbb\xbf{"id": "a", "text": "x"}\n{"id": "b"}\n')

    monkeypatch.setattr(sys, "stdin", Stdin())
    documents = read_corpus("-")
    assert next(documents) == Document("a", "x")
    with pytest.raises(InputError, match=r"^<stdin>:2: no text"):
        next(documents)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"_id": "b", "text": ', "not valid JSON"),
        ('["b"]', "a JSON object is expected, not list"),
        ('{"text": "x"}', "no id"),
        ('{"_id": "  ", "text": "x"}', "no id"),
        ('{"_id": true, "text": "x"}', "no id"),
        ('{"_id": "b"}', "no text"),
        ('{"_id": "b", "text": 3}', "no text"),
        ('{"_id": "b", "text": "x", "title": 3}', "title must be a string"),
        ('{"_id": "a", "text": "x"}', "a second document with the id 'a'"),
        ('{"_id": "b", "text": "\\ud800"}', "half a surrogate pair"),
        ('{"_id": "b", "text": "x", "n": NaN}', "NaN is no finite number"),
        ('{"_id": "b", "text": "x", "metadata": {"n": [1, -Infinity]}}', "-Infinity is no finite number"),
        ('{"_id": "b", "text": "x", "n": 1e999}', "1e999 is no finite number"),
    ],
)
def test_a_bad_line_is_named_and_what_came_before_is_given(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "c.jsonl", '{"_id": "a", "text": "x"}', line)
    documents = read_corpus(path)
    assert next(documents).id == "a"
    with pytest.raises(InputError) as caught:
        next(documents)
    assert str(caught.value).startswith(f"{path}:2: {message}")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "c.tsv"
    path.write_bytes(b"a\tgood\nb\tna\xefve\n")
    with pytest.raises(InputError, match=r"c\.tsv:2: not UTF-8 \(byte 4\)"):
        list(read_corpus(path))


def test_a_cut_gzip_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"_id": "a", "text": "x"}\n')[:-12])
    with pytest.raises(InputError, match="damaged gzip"):
        list(read_queries(path))
    path.write_bytes(b"not gzip at all")
    with pytest.raises(InputError, match="damaged gzip"):
        list(read_corpus(path))


def test_missing_and_unknown_sources_fail_at_the_call(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_corpus(tmp_path / "no.jsonl")
    with pytest.raises(InputError, match="not a BEIR folder"):
        read_corpus(tmp_path)
    with pytest.raises(InputError, match="unknown form"):
        read_corpus(write(tmp_path / "c.xls", "a,b"))


def test_tsv_columns_must_agree(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"c\.tsv:2: 3 columns where the first line has 2"):
        list(read_corpus(write(tmp_path / "c.tsv", "a\tx", "b\ty\tz")))
    with pytest.raises(InputError, match=r"c\.tsv:1: 4 columns"):
        list(read_corpus(write(tmp_path / "c.tsv", "a\tx\ty\tz")))


def test_queries(tmp_path: Path) -> None:
    wanted = [Query("1", "what is lift?"), Query("2", "and drag")]
    assert list(read_queries(write(tmp_path / "q.tsv", "1\twhat is lift?", "2\tand drag"))) == wanted
    lines = [json.dumps({"_id": query.id, "text": query.text}) for query in wanted]
    write(tmp_path / "queries.jsonl", *lines)
    assert list(read_queries(tmp_path)) == wanted


def test_qrels_of_both_kinds_agree(tmp_path: Path) -> None:
    wanted = {"1": {"a": 3, "b": 0}, "2": {"a": -1}}
    beir = write(tmp_path / "beir.tsv", "query-id\tcorpus-id\tscore", "1\ta\t3", "1\tb\t0", "2\ta\t-1")
    bare = write(tmp_path / "bare.tsv", "1\ta\t3", "1\tb\t0", "2\ta\t-1")
    trec = write(tmp_path / "trec.txt", "1 0 a 3", "1 0  b 0", "2\t0\ta\t-1")
    assert read_qrels(beir) == read_qrels(bare) == read_qrels(trec) == wanted


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1\ta"], ":1: 2 columns"),
        (["1\ta\t1", "1\ta\t2"], ":2: query '1' and document 'a' have two grades"),
        (["1\ta\t1", "1\tb\tx"], ":2: not 3 columns"),
        (["1 0 a 1", "1 0 a"], ":2: not 4 columns"),
        (["1\ta\t1.0", "1\tb\t1"], ":1: not 3 columns that end in an integer grade"),  # no header
        (["1\ta\t1", "\tb\t1"], ":2: not 3 columns"),
        (["1\ta\t1", "1\t \t1"], ":2: not 3 columns"),
        (["1\ta\t" + "9" * 5000], ":1: "),
        (["query-id\tcorpus-id\tscore"], "holds no relevance judgements"),
    ],
)
def test_bad_qrels(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_qrels(write(tmp_path / "q.tsv", *lines))


@given(st.binary(max_size=200))
def test_wild_bytes_give_documents_or_an_input_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("wild") / "c.jsonl"
    path.write_bytes(data)
    try:
        assert all(document.id for document in read_corpus(path))
    except InputError as error:
        assert str(error).startswith(str(path))


scalars = st.none() | st.booleans() | st.integers() | st.sampled_from(["", " ", "a", "\ud800", "ü\n\t"])
json_values = scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.sampled_from(["", "b"]), scalars)


@given(st.dictionaries(st.sampled_from(["_id", "id", "text", "title", "metadata", "x"]), json_values))
def test_wild_records_give_a_document_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, record: dict[str, object]
) -> None:
    path = write(tmp_path_factory.mktemp("wild") / "c.jsonl", json.dumps(record))
    try:
        (document,) = read_corpus(path)
        assert document.text == record["text"]
    except InputError as error:
        assert str(error).startswith(f"{path}:1: ")
