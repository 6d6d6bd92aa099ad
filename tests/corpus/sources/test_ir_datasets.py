"""The ids of ir_datasets, with a module of its interface in its place."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from saelex.corpus.documents import Document, Query
from saelex.corpus.opening import read_collection
from saelex.errors import InputError


class TitledDoc(NamedTuple):
    doc_id: str
    text: str
    title: str

    def default_text(self) -> str:
        return f"{self.title} {self.text}"


class UrlDoc(NamedTuple):
    doc_id: str
    title: str
    url: str

    def default_text(self) -> str:
        return f"{self.url}\n{self.title}"


class TrecQuery(NamedTuple):
    query_id: str
    title: str
    description: str

    def default_text(self) -> str:
        return self.title


class Qrel(NamedTuple):
    query_id: str
    doc_id: str
    relevance: int
    iteration: str = "0"


class Image(NamedTuple):
    doc_id: str
    png: bytes


class FakeDataset:
    """As ir_datasets' Dataset: what it lacks it says by has_...; a reader begins anew at each call."""

    def __init__(self, **parts: list[Any]) -> None:
        self._parts = parts

    def __getattr__(self, name: str) -> Any:
        if name.startswith("has_"):
            return lambda: name.removeprefix("has_") in self._parts
        part = name.removesuffix("_iter")
        return lambda: iter(self._parts[part])


class Registry(dict[str, FakeDataset]):
    """Loading what is not there is a KeyError, as theirs."""


DOCS = [TitledDoc("d1", "of wings", "Lift"), UrlDoc("d2", "Drag", "http://x"), TitledDoc("d3", "a bank", "")]
TOPICS = [TrecQuery("q2", "money", "what is it?"), TrecQuery("q1", "what lifts", "?"), TrecQuery("q3", "unjudged", "")]
JUDGED = [Qrel("q1", "d1", 2), Qrel("q1", "d2", -1), Qrel("q2", "d3", 1)]


def failing() -> Iterator[Any]:
    raise RuntimeError("download it by hand\nfrom a place\nfar away")


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    known = Registry(
        {
            "toy": FakeDataset(docs=DOCS, queries=TOPICS),
            "toy/test": FakeDataset(docs=DOCS, queries=TOPICS, qrels=JUDGED),
        }
    )
    module = SimpleNamespace(load=known.__getitem__, registry=known)
    monkeypatch.setitem(sys.modules, "ir_datasets", module)
    return known


def test_documents_queries_and_qrels() -> None:
    collection = read_collection("ir_datasets:toy/test", "dev")
    assert (collection.name, collection.split, collection.label) == ("toy/test", "", "toy/test")
    assert collection.source == "ir_datasets:toy/test"
    assert collection.qrels == {"q1": {"d1": 2, "d2": -1}, "q2": {"d3": 1}}
    assert collection.queries == [Query("q2", "money"), Query("q1", "what lifts")]
    documents = list(collection.documents())
    assert documents == [
        Document("d1", "of wings", "Lift"),
        Document("d2", "http://x\nDrag"),
        Document("d3", " a bank"),
    ]
    assert [one.content for one in documents] == [row.default_text().strip() for row in DOCS]
    assert list(collection.documents()) == documents


def test_ids_are_strings_and_unique(registry: Registry) -> None:
    numbered = [TrecQuery(7, "money", "?"), TrecQuery(8, "unjudged", "?")]  # type: ignore[arg-type]
    registry["numbers"] = FakeDataset(docs=[*DOCS, DOCS[0]], queries=numbered, qrels=[Qrel("7", "d1", 1)])
    collection = read_collection("ir_datasets:numbers")
    assert collection.queries == [Query("7", "money")]
    with pytest.raises(InputError, match=r"^ir_datasets:numbers: documents: a second document with the id 'd1'"):
        list(collection.documents())
    registry["twice"] = FakeDataset(docs=DOCS, queries=[*TOPICS, TOPICS[0]], qrels=JUDGED)
    with pytest.raises(InputError, match=r"^ir_datasets:twice: queries: a second query with the id 'q2'"):
        read_collection("ir_datasets:twice")


def test_an_id_without_qrels_names_those_below(registry: Registry) -> None:
    with pytest.raises(InputError, match=r"^ir_datasets:toy: has no qrels; ids below it: toy/test$"):
        read_collection("ir_datasets:toy")
    with pytest.raises(InputError, match=r"^ir_datasets:toy/tests: ir_datasets has no such id; did you mean toy/test"):
        read_collection("ir_datasets:toy/tests")
    registry["only"] = FakeDataset(qrels=JUDGED)
    with pytest.raises(InputError, match=r"has no docs and no queries$"):
        read_collection("ir_datasets:only")


def test_what_cannot_be_used_is_said(registry: Registry) -> None:
    registry["twice"] = FakeDataset(docs=DOCS, queries=TOPICS, qrels=[*JUDGED, Qrel("q1", "d1", 1)])
    with pytest.raises(InputError, match=r"^ir_datasets:twice: query 'q1' and document 'd1' have two grades"):
        read_collection("ir_datasets:twice")
    registry["images"] = FakeDataset(docs=[Image("d1", b"")], queries=TOPICS, qrels=JUDGED)
    with pytest.raises(InputError, match=r"^ir_datasets:images: Image records have no text to search"):
        list(read_collection("ir_datasets:images").documents())
    registry["manual"] = FakeDataset(docs=DOCS, queries=TOPICS, qrels=JUDGED)
    registry["manual"].docs_iter = failing  # type: ignore[attr-defined]
    collection = read_collection("ir_datasets:manual")
    with pytest.raises(InputError, match=r"^ir_datasets:manual: cannot be had from ir_datasets: download it by hand$"):
        list(collection.documents())
    registry["unasked"] = FakeDataset(docs=DOCS, queries=TOPICS[:1], qrels=JUDGED)
    with pytest.raises(InputError, match=r"^ir_datasets:unasked: 1 judged queries have no text, 'q1' among them"):
        read_collection("ir_datasets:unasked")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(InputError, match=r"pip install 'saelex\[ir-datasets\]'"):
        read_collection("ir_datasets:toy/test")
