"""What is asked of an index in a wrong way is one InputError that names it, and nothing is searched, added or lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.index.fakes import FakeEncoder, make_documents

from saelex.corpus.documents import Document
from saelex.errors import InputError
from saelex.index.fields import MOST_FIELDS, MetadataFields
from saelex.index.index import Index


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.create(tmp_path / "i", FakeEncoder()) as made:
        made.add(make_documents(20))
        made.add(
            [Document("x", "A text.", "", {"source": {"site": "x.org"}, "tags": ["a", 1], "open": True, "none": []})]
        )
        yield made


@pytest.mark.parametrize("query", [["wing", "lift"], ("wing",), {"text": "wing"}, None, b"wing", 3, 2.5, Path("wing")])
def test_a_query_is_one_text(index: Index, query: Any) -> None:
    for ask in (index.search, lambda one: index.search_batch([one]), lambda one: index.find(one, "d0")):
        with pytest.raises(InputError, match=f"^query 1 is a {type(query).__name__}, not a text"):
            ask(query)
    with pytest.raises(InputError, match="for several queries there is search_batch"):
        index.search(["wing", "lift"])  # type: ignore[arg-type]


@pytest.mark.parametrize("queries", ["wing lift", b"wing", {"a": 1}, None, 7])
def test_queries_come_in_a_list(index: Index, queries: Any) -> None:
    rows = index.query_vectors(["wing"])
    for ask, verb in (
        (index.search_batch, "search_batch"),
        (index.query_vectors, "query_vectors"),
        (
            lambda texts: index.search_vectors(rows, texts=texts) if texts is not None else index.query_vectors(texts),
            "",
        ),
    ):
        with pytest.raises(InputError, match=f"{verb}.* takes a list of queries, not "):
            ask(queries)
    assert len(index.search_batch(query for query in ("wing", "lift"))) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "at least 1, not 0"),
        ({"k": "3"}, "at least 1, not '3'"),
        ({"k": 2.5}, "not 2.5"),
        ({"k": True}, "not True"),
        ({"mode": None}, "unknown search mode None"),
        ({"boost": {"wing": 2}}, "boost takes concepts in a list, .*, not a dict"),
        ({"ban": 4711}, "ban takes concepts in a list, .*, not a int"),
        ({"add": [4711]}, "add: a concept is named by a text, .*, not 4711"),
        ({"where": "lang=en"}, "not a mapping"),
        ({"where": []}, "not a mapping"),
        (
            {"where": {"language": "en"}},
            "no document has the field 'language'; known are lang, none, open",
        ),
        ({"where": {"language": {"!=": "en"}}}, "no document has the field 'language'"),
        ({"where": {"any of": [{"lang": "en"}, {"language": "en"}]}}, "no document has the field 'language'"),
        ({"where": {"none of": [{"year": "2001"}]}}, "year holds number, never text"),
        ({"where": {"language": {"exists": True}}}, "no document has the field 'language'"),
        ({"where": {"source.url": "x"}}, "no document has the field 'source.url'"),
        ({"where": {"lang": {"like": "e"}}}, "unknown comparison 'like'; known are <"),
        ({"where": {"lang": {1: "e"}}}, "unknown comparison 1; known are <"),
        ({"where": {"lang": {}}}, "lang: no comparison; known are <"),
        ({"where": {1: "en"}}, "a field is a name"),
        ({"where": {"year": {">=": "2001"}}}, "year holds number, never text such as '2001'"),
        ({"where": {"year": "2001"}}, "year holds number, never text"),
        ({"where": {"lang": 3}}, "lang holds text, never number such as 3"),
        ({"where": {"lang": {"in": [3, None]}}}, "lang holds text, never null or number"),
        ({"where": {"year": float("nan")}}, "nan is no number"),
        ({"where": {"year": {"<": float("inf")}}}, "inf is no number"),
        (
            {"where": {"source": "x.org"}},
            "source holds object, never text .* name one of its members",
        ),
    ],
)
def test_options_without_meaning_are_named(index: Index, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        index.search("wing", **options)
    assert "\n" not in str(caught.value)


def test_filters_that_mean_something(index: Index) -> None:
    for where, ids in (
        ({"source.site": "x.org"}, {"x"}),
        ({"tags": 1}, {"x"}),
        ({"tags": ["a", "b"]}, {"x"}),
        ({"open": {"==": True}}, {"x"}),
        ({"lang": {"!=": "en"}, "year": {"!=": 1990}}, {f"d{i}" for i in range(2, 20, 2)} | {"x"}),
        ({}, {"x", *(f"d{i}" for i in range(20))}),
        ({"lang": []}, set()),
        ({"any of": [{"year": 1990}, {"source": {"exists": True}}]}, {"d0", "x"}),
        ({"year": {"not in": ["1990"]}}, {"x", *(f"d{i}" for i in range(20))}),
    ):
        assert {hit.id for hit in index.search("text wing lift title", k=50, where=where)} == ids
    assert len(index.search("text wing lift title", k=np.int64(2))) == 2  # type: ignore[arg-type]


def test_fields_are_known_to_every_process_and_grow(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", FakeEncoder()) as writer, Index.open(tmp_path / "i", FakeEncoder()) as reader:
        with pytest.raises(InputError, match="they have no metadata"):
            reader.search("wing", where={"lang": "en"})
        writer.add([Document("a", "wing")])
        with pytest.raises(InputError, match="they have no metadata"):
            reader.search("wing", where={"lang": "en"})
        writer.add([Document("b", "wing", "", {"lang": "en"})])
        assert [hit.id for hit in reader.search("wing", where={"lang": "en"})] == ["b"]
        writer.update([Document("a", "wing", "", {"lang": None})])
        assert [hit.id for hit in reader.search("wing", where={"lang": None})] == ["a"]


def test_too_many_fields_are_not_kept() -> None:
    few = MetadataFields({}).after([{f"f{i}": i} for i in range(MOST_FIELDS)])
    assert few.kinds is not None and len(few.kinds) == MOST_FIELDS
    many = few.after([{"one more": 1}])
    assert many.kinds is None and many.after([{"a": 1}]) == many
    many.check({"anything": 1})


def used_up() -> Iterator[Document]:
    documents = (document for document in make_documents(3, start=100))
    list(documents)
    return documents


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        (lambda: "corpus.jsonl", "'corpus.jsonl' is no list of documents; `read_corpus` reads"),
        (lambda: Path("corpus.jsonl"), "is no list of documents"),
        (lambda: b"corpus", "is no list of documents"),
        (lambda: {"id": "a", "text": "b"}, "documents come in a list"),
        (lambda: Document("a", "b"), "documents come in a list"),
        (lambda: None, "another iterable, not in a NoneType"),
        (lambda: 5, "another iterable, not in a int"),
        (used_up, "read already"),
        (lambda: ["a text"], "a document is a Document or a mapping .*, not 'a text'"),
        (lambda: [None], "a document is a Document or a mapping"),
        (lambda: [("id", "text")], "a document is a Document or a mapping"),
    ],
)
def test_what_is_no_documents_is_named(index: Index, documents: Callable[[], Any], message: str) -> None:
    rows = index.encoder.encode_document(["one"])
    for add in (index.add, index.update, index.fill, lambda given: index.add_vectors(given, rows)):
        with pytest.raises(InputError, match=f"{message}|vectors of 1 documents for"):
            add(documents())
    assert len(index) == 21


def test_vectors_and_ids_of_other_kinds_are_named(index: Index) -> None:
    for rows in (np.zeros((1, index.n_latents)), None, [[0.0]], "rows"):
        with pytest.raises(InputError, match="vectors are SparseRows, not "):
            index.add_vectors([Document("a", "b")], rows)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="vectors are SparseRows, not "):
            index.search_vectors(rows)  # type: ignore[arg-type]
    for ids in (None, 3, b"d0"):
        with pytest.raises(InputError, match="ids come in a list"):
            index.delete(ids)  # type: ignore[arg-type]
    for name in (3, None, ["d0"], {}):
        for ask in (lambda one: index.delete([one]), index.document, lambda one: index.explain("wing", one)):
            with pytest.raises(InputError, match="an id is a string, not "):
                ask(name)
    assert len(index) == 21
