"""Streamed data sets, from local files: nothing here asks the network."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.training.examples.files import write_jsonl

from saelex.errors import InputError
from saelex.training.examples.example import Example, Passage, TrainingQuery
from saelex.training.examples.mixing import open_examples
from saelex.training.examples.settings import ExampleData, Source
from saelex.training.examples.sources import StreamedSource, open_source

ROWS = [{"query": f"q{i}", "positive": f"p{i}", "negative_1": f"n{i}", "negative_2": f"m{i}"} for i in range(40)]


def opened(path: Path | str, needs_scores: bool = False, **wanted: Any) -> StreamedSource:
    source = open_source(Source(path=str(path), kind="hub", **wanted), needs_scores=needs_scores)
    assert not hasattr(source, "size")
    return source


def test_a_folder_is_streamed_in_an_order_of_seed_and_pass(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "set" / "train.jsonl", ROWS)
    source = opened(tmp_path / "set")
    first = list(source.stream(0, 0))
    assert {query.query for query in first} == {row["query"] for row in ROWS}
    one = next(query for query in first if query.query == "q7")
    assert one == TrainingQuery("q7", (Passage("p7"),), (Passage("n7"), Passage("m7")))
    assert first == list(source.stream(0, 0))
    assert first != list(source.stream(0, 1))
    assert first != list(source.stream(1, 0))


def test_parquet_with_lists_and_scores(tmp_path: Path) -> None:
    table = {"anchor": ["a", "b"], "good": ["p", "r"], "bad": [["x", "y"], ["z"]], "ce": [[3.0, 1.0, None], None]}
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    columns = {"query": "anchor", "positive": "good", "negatives": "bad", "scores": "ce"}
    scored = list(opened(tmp_path / "rows.parquet", needs_scores=True, columns=columns).stream(0, 0))
    assert scored == [TrainingQuery("a", (Passage("p", 3.0),), (Passage("x", 1.0), Passage("y")))]
    assert len(list(opened(tmp_path / "rows.parquet", columns=columns).stream(0, 0))) == 2
    assert len(list(opened(tmp_path / "rows.parquet", columns=columns, max_queries=1).stream(0, 0))) == 1


def test_a_stream_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", ROWS)
    data = ExampleData(sources=[Source(path=str(path), kind="hub")], negatives=1)

    def stream(start: int) -> Iterator[Example]:
        return open_examples(data, seed=3, needs_scores=False).stream(start)

    assert open_examples(data, seed=3, needs_scores=False).size is None
    whole = list(islice(stream(0), 100))  # two passes and a half
    assert whole[55:] == list(islice(stream(55), 45))
    assert {example.query for example in whole[:40]} == {example.query for example in whole[40:80]}


def test_what_cannot_be_loaded_is_said(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "set" / "train.jsonl", ROWS)
    with pytest.raises(InputError, match="no field 'frage'; the fields are query, positive, negative_1"):
        opened(path, columns={"query": "frage"})
    with pytest.raises(InputError, match=r"set: cannot be loaded as a data set: .*nope"):
        opened(tmp_path / "set", split="nope")
    with pytest.raises(InputError, match="no/such: cannot be loaded as a data set"):
        opened("no/such")


def test_without_datasets_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"pip install 'saelex\[hub-data\]'"):
        opened(tmp_path)
