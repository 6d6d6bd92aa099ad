"""JSON lines, plain and in BAAI's layout: fields, scores, what is left out, and errors by file and line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.training.examples.files import write_jsonl

from saelex.errors import InputError
from saelex.training.examples.example import Passage, TrainingQuery
from saelex.training.examples.lines import LineFile, remembered_array
from saelex.training.examples.records import training_query
from saelex.training.examples.settings import Source
from saelex.training.examples.sources import SizedSource, open_source

RECORDS = [
    {"query": "q0", "positive": "p0", "negatives": ["n0", "n1"], "scores": [3, 1.5, None]},
    {"query": "q1 für", "positive": ["p1", "p2"], "negatives": ["n2"]},
    {"query": "q2", "positive": ["p3"]},
]


def opened(path: Path, kind: str = "jsonl", needs_scores: bool = False, **wanted: Any) -> SizedSource:
    source = open_source(Source(path=str(path), kind=kind, **wanted), needs_scores=needs_scores)  # type: ignore[arg-type]
    assert isinstance(source, SizedSource)
    return source


def queries(source: SizedSource) -> list[str]:
    return [source[index].query for index in range(source.size)]


@pytest.mark.parametrize("name", ["lines.jsonl", "lines.jsonl.gz"])
def test_fields(tmp_path: Path, name: str) -> None:
    source = opened(write_jsonl(tmp_path / name, RECORDS))
    assert source.size == 3
    assert source[0] == TrainingQuery("q0", (Passage("p0", 3.0),), (Passage("n0", 1.5), Passage("n1")))
    assert source[1] == TrainingQuery("q1 für", (Passage("p1"), Passage("p2")), (Passage("n2"),))
    assert source[2].negatives == ()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1, max_size=6).filter(
        lambda pairs: all(text.strip() for pair in pairs for text in pair)
    ),
    st.sampled_from(["\n", "\r\n", "\n\n", "\n \n"]),
    st.booleans(),
)
def test_any_texts_come_back(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]], end: str, escaped: bool
) -> None:
    """Also texts with line separators in them, blank lines between, and no line end at the end."""
    path = tmp_path_factory.mktemp("jsonl") / "lines.jsonl"
    lines = [json.dumps({"query": q, "positive": p}, ensure_ascii=escaped) for q, p in pairs]
    path.write_bytes(end.join(lines).encode())
    source = opened(path)
    found = [source[index] for index in range(source.size)]
    assert found == [TrainingQuery(query, (Passage(positive),)) for query, positive in pairs]


def test_needs_scores_and_blank_texts_and_doubles(tmp_path: Path) -> None:
    more = [
        {"query": " ", "positive": "p"},
        {"query": "q3", "positive": " "},
        {"query": "q4", "positive": "p", "negatives": ["n", " p\n", "n "], "scores": [1, 0, 9, 5]},
        {"query": "q5", "positive": "p", "negatives": ["n"], "scores": [None, 0]},
    ]
    path = write_jsonl(tmp_path / "lines.jsonl", RECORDS + more)
    assert queries(opened(path)) == ["q0", "q1 für", "q2", "q4", "q5"]
    scored = opened(path, needs_scores=True)
    assert queries(scored) == ["q0", "q4"]
    assert scored[1].negatives == (Passage("n", 0.0),)  # not the positive again, and n once
    assert scored.facts()["queries_left_out"] == 5


def test_excluded_passages(tmp_path: Path) -> None:
    test_set = write_jsonl(tmp_path / "test.jsonl", [{"_id": "1", "text": "p1"}, {"_id": "2", "text": " p0  "}])
    path = write_jsonl(tmp_path / "lines.jsonl", RECORDS)
    source = opened(path, exclude=[str(test_set)])
    assert queries(source) == ["q1 für", "q2"]
    assert source[0].positives == (Passage("p2"),)


def test_max_queries_counts_usable_ones(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "lines.jsonl", [{"query": " ", "positive": "p"}, *RECORDS])
    assert queries(opened(path, max_queries=2)) == ["q0", "q1 für"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"query": "q", "positive": "p"', r"not valid JSON: .*column"),
        ('["q", "p"]', "a JSON object is expected, not list"),
        ('{"positive": "p"}', "the query is no text; the fields are positive"),
        ('{"query": "q", "text": "p"}', "no positive passage; the fields are query, text"),
        ('{"query": "q", "positive": []}', "no positive passage"),
        ('{"query": "q", "positive": {"text": "p"}}', "positive must be a text or a list of texts"),
        ('{"query": "q", "positive": "p", "negatives": [1]}', "negatives must be a text or a list of texts"),
        ('{"query": "q", "positive": "p", "negatives": ["n"], "scores": [1]}', "1 scores for 2 passages"),
        ('{"query": "q", "positive": "p", "negatives": ["n"], "scores": [1, "2"]}', "'2', which is no finite number"),
        ('{"query": "q", "positive": "p", "negatives": ["n"], "scores": [1, NaN]}', "nan, which is no finite number"),
        ('{"query": "q", "positive": "\\ud800"}', "half a surrogate pair"),
        ('{"query": ' + "[" * 100_000, "recursion"),
        ('{"query": "q", "positive": ' + "9" * 5000 + "}", "digits"),
        ("\udcff", "not UTF-8"),
    ],
)
@pytest.mark.parametrize("name", ["lines.jsonl", "lines.jsonl.gz"])
def test_errors_name_file_and_line(tmp_path: Path, name: str, line: str, message: str) -> None:
    good = json.dumps(RECORDS[0])
    path = write_jsonl(tmp_path / name, [])
    content = f"{good}\n\n{line}\n".encode("utf-8", "surrogateescape")
    if name.endswith(".gz"):
        import gzip

        content = gzip.compress(content)
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}:3: (.*\n)*.*{message}"):
        opened(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.jsonl: no such file"):
        opened(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_bytes(b"")
    with pytest.raises(InputError, match=r"empty\.jsonl: the file is empty"):
        opened(tmp_path / "empty.jsonl")
    (tmp_path / "broken.jsonl.gz").write_bytes(b"no gzip at all")
    with pytest.raises(InputError, match=r"broken\.jsonl\.gz: damaged gzip"):
        opened(tmp_path / "broken.jsonl.gz")


def test_columns_of_other_names_and_layouts() -> None:
    renamed = {"anchor": "q", "good": "p", "bad": ["n", "m"], "ce": [2, 1, 0], "query": "other"}
    columns = {"query": "anchor", "positive": "good", "negatives": "bad", "scores": "ce"}
    wanted = TrainingQuery("q", (Passage("p", 2.0),), (Passage("n", 1.0), Passage("m", 0.0)))
    assert training_query(renamed, columns) == wanted
    numbered = {"query": "q", "positive": "p", "negative_2": "m", "negative_10": "z", "negative_1": "n"}
    assert [n.text for n in training_query(numbered, {}).negatives] == ["n", "m", "z"]
    margin = training_query({"query": "q", "positive": "p", "negative": "n", "score": 4.5}, {})
    assert margin.positives[0].score - margin.negatives[0].score == 4.5  # type: ignore[operator]
    with pytest.raises(InputError, match="no field 'bad'; the fields are query, positive"):
        training_query({"query": "q", "positive": "p"}, {"negatives": "bad"})
    with pytest.raises(InputError, match="columns names 'negative'; it may name query"):
        training_query(renamed, {"negative": "bad"})


def test_bge_folders(tmp_path: Path) -> None:
    scored = {"query": "q0", "pos": ["p0"], "neg": ["n0", "n1"], "pos_scores": [0.9], "neg_scores": [0.2, 0.1]}
    unscored = {"query": "q1", "pos": ["p1"], "neg": ["n2"], "pos_scores": None, "neg_scores": None, "prompt": "Find"}
    third = {**scored, "query": "q2", "type": "normal"}
    write_jsonl(tmp_path / "bge" / "en" / "msmarco.jsonl", [scored, unscored])
    write_jsonl(tmp_path / "bge" / "zh" / "t2.jsonl.gz", [third, {**third, "query": "q3"}])
    write_jsonl(tmp_path / "bge" / "top.jsonl", [{**scored, "query": "q4"}])
    folder = tmp_path / "bge"
    assert sorted(queries(opened(folder, "bge"))) == ["q0", "q1", "q2", "q3", "q4"]
    assert sorted(queries(opened(folder, "bge", needs_scores=True))) == ["q0", "q2", "q3", "q4"]
    assert queries(opened(folder, "bge", subset="zh")) == ["q2", "q3"]
    chinese = opened(folder, "bge", subset="zh")[0]
    assert chinese == TrainingQuery("q2", (Passage("p0", 0.9),), (Passage("n0", 0.2), Passage("n1", 0.1)))
    assert queries(opened(folder, "bge", max_queries=2)) == ["q0", "q4"]  # evenly spread over the five
    assert opened(folder, "bge").facts()["files"] == {"en/msmarco.jsonl": 2, "top.jsonl": 1, "zh/t2.jsonl.gz": 2}

    write_jsonl(folder / "bad" / "x.jsonl", [scored, {**scored, "neg_scores": [1]}])
    with pytest.raises(InputError, match=r"x\.jsonl:2: 1 neg_scores for 2 passages"):
        opened(folder, "bge")
    with pytest.raises(InputError, match=r"no \.jsonl files in fr"):
        opened(folder, "bge", subset="fr")
    with pytest.raises(InputError, match="nowhere: no such folder, and not a hub id"):
        open_source(Source(path="nowhere", kind="bge"), needs_scores=False)


def test_what_is_remembered_of_a_file_goes_when_the_file_changes(tmp_path: Path, own_cache: Path) -> None:
    path = write_jsonl(tmp_path / "lines.jsonl", RECORDS)
    calls: list[int] = []

    def find() -> np.ndarray:
        calls.append(len(calls))
        return np.array([len(calls)])

    assert remembered_array(path, {"a": 1}, find)[0] == remembered_array(path, {"a": 1}, find)[0] == 1
    assert remembered_array(path, {"a": 2}, find)[0] == 2  # another purpose
    os.utime(path, ns=(1, 1))
    assert remembered_array(path, {"a": 1}, find)[0] == 3
    assert len(list((own_cache / "lines").iterdir())) == 2  # the older state's is gone
    for kept in (own_cache / "lines").iterdir():
        kept.write_bytes(b"damaged")
    assert remembered_array(path, {"a": 1}, find)[0] == 4


def test_places_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes("\ufeffä\n\n\r\nb\nlast".encode())
    file = LineFile(path)
    found = [(line.number, line.text) for line in file.lines()]
    assert found == [(1, "ä"), (4, "b"), (5, "last")]
    assert [file.at(line.offset) for line in file.lines()] == ["ä", "b", "last"]
    assert [file.where(line.offset) for line in file.lines()] == [f"{path}:{number}" for number in (1, 4, 5)]
