"""ColBERT's lines of ids, against the texts that the ids stand for."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.training.examples.files import write_jsonl

from saelex.errors import InputError
from saelex.training.examples.example import Passage, TrainingQuery
from saelex.training.examples.settings import Source
from saelex.training.examples.sources import SizedSource, open_source
from saelex.training.examples.texts_by_id import TextsById

TEXTS = {0: "zero", 1: "one", 2: "two", 3: "three", 14: " ", 15: "fünfzehn"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A collection whose ids are not its line numbers, out of order, with a blank passage."""
    lines = [f"{number}\t{TEXTS[number]}" for number in (3, 0, 15, 1, 14, 2)]
    (tmp_path / "collection.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "queries.train.tsv").write_text("7\tseven?\n8\teight?\n9\t \n")
    return tmp_path


def opened(path: Path, needs_scores: bool = False, **wanted: Any) -> SizedSource:
    source = open_source(Source(path=str(path), kind="colbert", **wanted), needs_scores=needs_scores)
    assert isinstance(source, SizedSource)
    return source


def test_scored_lines(folder: Path) -> None:
    lines = [[7, [3, 4.5], [0, 1], [15, -2.0], [0, 9]], [8, [1, 0.5], [14, 0.1]], [9, [1, 1], [2, 0]]]
    path = write_jsonl(folder / "examples.json", lines)
    source = opened(path)
    assert source.size == 2  # query 9 is blank
    negatives = (Passage("zero", 1), Passage("fünfzehn", -2.0))  # the second 0 is dropped
    assert source[0] == TrainingQuery("seven?", (Passage("three", 4.5),), negatives)
    assert source[1] == TrainingQuery("eight?", (Passage("one", 0.5),), ())  # its only negative is blank
    assert opened(path, needs_scores=True).size == 1
    assert opened(path, max_queries=1).size == 1


def test_triples(folder: Path) -> None:
    wanted = TrainingQuery("eight?", (Passage("two"),), (Passage("zero"), Passage("one")))
    assert opened(write_jsonl(folder / "triples.jsonl", [[8, 2, 0, 1]]))[0] == wanted
    (folder / "triples.tsv").write_text("8\t2\t0\t1\n")
    assert opened(folder / "triples.tsv")[0] == wanted
    assert opened(folder / "triples.tsv", needs_scores=True).size == 0


def test_excluded_passages(folder: Path) -> None:
    path = write_jsonl(folder / "triples.jsonl", [[8, 2, 0, 1], [7, 1, 2]])
    test_set = write_jsonl(folder / "test.jsonl", [{"_id": "x", "title": "a title", "text": "one "}])
    source = opened(path, exclude=[str(test_set)])
    assert source.size == 1
    assert source[0].negatives == (Passage("zero"),)


def test_texts_elsewhere_and_in_other_forms(folder: Path) -> None:
    path = write_jsonl(folder / "triples" / "t.jsonl", [["a", "x", "y"]])
    with pytest.raises(InputError, match=r"none of collection\.tsv, .* is here; name the file by the source's corpus"):
        opened(path)
    corpus = write_jsonl(
        folder / "other" / "corpus.jsonl.gz",
        [{"_id": "y", "text": "why"}, {"_id": "x", "title": "The", "text": "unknown"}],
    )
    (folder / "other" / "queries.tsv").write_text("a\twhat?\n")
    by_file = opened(path, corpus=str(corpus), queries=str(folder / "other" / "queries.tsv"))
    by_folder = opened(path, corpus=str(folder / "other"), queries=str(folder / "other"))
    for source in (by_file, by_folder):
        assert source[0] == TrainingQuery("what?", (Passage("The unknown"),), (Passage("why"),))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[7, 99]", "the id 99 is not in .*collection.tsv"),
        ("[77, 1]", "the id 77 is not in .*queries.train.tsv"),
        ("[7]", "a line needs a query and a passage"),
        ("[7, [1, 2, 3]]", r"a passage is an id, or a pair of id and score, not \[1, 2, 3\]"),
        ("[7, [1, NaN]]", "the score of the passage 1 is no finite number"),
        ("[null, 1]", "the query must be an id, not null"),
        ("[7, 1", "not valid JSON"),
        ("7", "a line needs a query"),
    ],
)
def test_errors_name_file_and_line(folder: Path, line: str, message: str) -> None:
    (folder / "examples.json").write_text(f"[7, 1, 2]\n{line}\n")
    with pytest.raises(InputError, match=rf"examples\.json:2: {message}"):
        opened(folder / "examples.json")


def test_a_malformed_collection(folder: Path) -> None:
    path = write_jsonl(folder / "t.jsonl", [[7, 1]])
    (folder / "collection.tsv").write_text("1\tone\n2 two\n")
    with pytest.raises(InputError, match=r"collection\.tsv:2: .*id<TAB>text"):
        opened(path)
    (folder / "collection.tsv").write_text("1\tone\n2\ttwo\n1\tthree\n")
    with pytest.raises(InputError, match=r"collection\.tsv:3: a second text"):
        opened(path)


def test_a_changed_collection_is_read_anew(folder: Path) -> None:
    path = write_jsonl(folder / "t.jsonl", [[7, 1]])
    assert opened(path)[0].positives == (Passage("one"),)
    (folder / "collection.tsv").write_text("0\tlonger than before\n1\tuno\n")
    assert opened(path)[0].positives == (Passage("uno"),)


ids = st.one_of(st.integers(0, 2**62), st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=4))


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(ids.map(str), st.text().map(lambda text: " ".join(text.split())), min_size=1, max_size=8))
def test_any_ids_find_their_texts(tmp_path_factory: pytest.TempPathFactory, texts: dict[str, str]) -> None:
    """Numbers with leading zeros, digits of other scripts and numbers beyond 64 bits are ids of their own."""
    texts |= {"007": "zeros", "7": "seven", "٧": "arabic", "9" * 30: "many"}
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl.gz"
    lines = [json.dumps({"_id": name, "text": text}) for name, text in texts.items()]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    found = TextsById(path)
    names: list[str | int] = list(texts)
    assert [found.at(int(place)) for place in found.places(names)] == list(texts.values())
    with pytest.raises(InputError, match="the id 'not there' is not in"):
        found.places([*names, "not there"])
