"""Translated filters against what the frameworks themselves say of the same documents."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.index.fakes import FakeEncoder
from tests.index.test_filters import found_by_sql

from saelex.errors import InputError
from saelex.index.index import Index
from saelex.integrations.filters import from_chroma, from_haystack, from_llama_index, from_qdrant

METADATA: list[dict[str, Any]] = [
    {"lang": "en", "year": 2001, "tags": ["a", "b"], "open": True},
    {"lang": "de", "year": 1999.5, "tags": [], "source": {"site": "x.org"}},
    {"lang": None, "year": 2010, "open": False},
    {"lang": "", "source": {"site": "y.org"}, "scores": [1, 9]},
    {},
]
SCALARS = st.one_of(st.integers(0, 2), st.sampled_from("ab"))
FLAT = st.lists(st.dictionaries(st.sampled_from("xy"), st.one_of(st.none(), SCALARS), max_size=2), max_size=4)


# ---- ChromaDB: it is not here to be asked ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (None, [0, 1, 2, 3, 4]),
        ({"lang": "en"}, [0]),
        ({"$and": [{"year": {"$gte": 2001}}], "open": {"$eq": False}}, [2]),
        ({"$or": [{"lang": "de"}, {"$and": [{"year": {"$gt": 2000}}, {"year": {"$lt": 2005}}]}]}, [0, 1]),
        ({"year": {"$gt": 1999, "$lte": 2001}}, [0, 1]),
        ({"lang": {"$ne": "en"}}, [1, 2, 3, 4]),
        ({"lang": {"$in": ["en", "de"]}}, [0, 1]),
        ({"lang": {"$nin": ["en", "de"]}}, [2, 3, 4]),
        ({"tags": {"$contains": "b"}}, [0]),
    ],
)
def test_chroma(where: Any, expected: list[int]) -> None:
    assert found_by_sql(METADATA, from_chroma(where)) == expected


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"lang": {"$regex": "e"}}, r"lang: unknown operator '\$regex'; known are \$eq"),
        ({"#document": {"$contains": "wing"}}, "texts or ids; saelex filters by metadata alone"),
        ({"$or": []}, r"\$or of nothing"),
        ({"$or": {"lang": "en"}}, "needs a list"),
        ({"year": {"$gt": "2001"}}, "year: bounds are numbers here, not '2001'"),
        ({"year": {"$gt": True}}, "bounds are numbers"),
        ({"lang": None}, "None is neither text, number nor truth value"),
        ({"lang": {"$in": [["en"]]}}, "neither text"),
        ({"tags": {"$not_contains": "a"}}, "does not say what holds without the field"),
        ({"tags": {"$eq": "a", "$contains": "b"}}, "put them under"),
        ([{"lang": "en"}], "is no dictionary"),
    ],
)
def test_what_chroma_means_otherwise(where: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_chroma(where)


# ---- Qdrant: its client's own evaluation ----------------------------------------------------------------------------

KEYS, EMPTY = st.sampled_from("xy"), st.sampled_from(["is_empty", "is_null"])
CONDITIONS = st.one_of(
    st.builds(lambda key, value: {"key": key, "match": {"value": value}}, KEYS, SCALARS),
    st.builds(lambda key, values: {"key": key, "match": {"any": values}}, KEYS, st.lists(st.sampled_from("ab"))),
    st.builds(
        lambda key, bounds: {"key": key, "range": bounds},
        KEYS,
        st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), st.integers(0, 2), min_size=1, max_size=2),
    ),
    st.builds(lambda key, name, value: {"key": key, name: value}, KEYS, EMPTY, st.booleans()),
    st.builds(lambda key, name: {name: {"key": key}}, KEYS, EMPTY),
)
CLAUSES = st.sampled_from(["must", "should", "must_not"])
QDRANT = st.recursive(
    st.dictionaries(CLAUSES, st.lists(CONDITIONS, max_size=2), max_size=3),
    lambda inner: st.dictionaries(CLAUSES, st.one_of(inner, st.lists(st.one_of(inner, CONDITIONS), max_size=2))),
    max_leaves=4,
)
LISTED = st.lists(
    st.dictionaries(
        st.sampled_from("xy"), st.one_of(st.none(), SCALARS, st.lists(st.one_of(st.none(), SCALARS), max_size=2))
    ),
    max_size=4,
)


@given(LISTED, QDRANT)
def test_qdrant(documents: list[dict[str, Any]], filter: dict[str, Any]) -> None:
    qdrant = pytest.importorskip("qdrant_client")
    from qdrant_client.local.payload_filters import check_filter

    model = qdrant.models.Filter(**filter)
    expected = [i for i, payload in enumerate(documents) if check_filter(model, payload, i, {})]
    assert found_by_sql(documents, from_qdrant(filter)) == expected
    assert found_by_sql(documents, from_qdrant(model)) == expected


def test_qdrants_paths_into_objects() -> None:
    assert found_by_sql(METADATA, from_qdrant({"must": {"key": "source.site", "match": {"value": "x.org"}}})) == [1]


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        ({"min_should": {"conditions": [], "min_count": 2}}, "min_should has no counterpart"),
        ({"must": [{"has_id": [1]}]}, "one test of one key at a time"),
        ({"must": [{"nested": {"key": "a", "filter": {}}}]}, "one test of one key"),
        ({"must": [{"key": "lang", "match": {"text": "e"}}]}, "match by text has no counterpart"),
        ({"must": [{"key": "lang", "match": {"except": ["e"]}}]}, "use any under must_not"),
        ({"must": [{"key": "year", "range": {"gte": "2020-01-01"}}]}, "bounds are numbers here"),
        ({"must": [{"key": "year", "range": {"gte": datetime.datetime(2020, 1, 1)}}]}, "bounds are numbers here"),
        ({"must": [{"key": "year", "range": {}}]}, "a range has some of gt"),
        ({"must": [{"key": "year", "range": {"above": 3}}]}, "a range has some of gt"),
        ({"must": [{"key": "year", "match": {"value": 1}, "range": {"gt": 1}}]}, "one test of one key"),
        ({"must": [{"key": "a[].b", "match": {"value": 1}}]}, "goes into lists"),
        ({"must": [{"key": "a", "geo_radius": {}}]}, "geo_radius has no counterpart"),
        ({"must": ["lang"]}, "is no dictionary"),
    ],
)
def test_what_qdrant_means_otherwise(filter: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_qdrant(filter)


def test_what_qdrants_models_mean_otherwise() -> None:
    models = pytest.importorskip("qdrant_client").models
    for condition, message in (
        (models.FieldCondition(key="lang", match=models.MatchExcept(**{"except": ["en"]})), "use any under must_not"),
        (models.FieldCondition(key="at", range=models.DatetimeRange(gt=datetime.datetime(2020, 1, 1))), "bounds are"),
    ):
        with pytest.raises(InputError, match=message):
            from_qdrant(models.Filter(must=[condition]))


# ---- LlamaIndex: its own store's evaluation -------------------------------------------------------------------------

TESTS = st.tuples(KEYS, st.sampled_from(["==", "!=", "in", "nin", "is_empty"]), SCALARS)


@given(FLAT, st.lists(TESTS, max_size=3), st.sampled_from(["and", "or", "not", None]))
def test_llama_index(documents: list[dict[str, Any]], tests: list[tuple[str, str, Any]], condition: str | None) -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters
    from llama_index.core.vector_stores.utils import build_metadata_filter_fn

    filters = MetadataFilters(
        filters=[
            MetadataFilter(key=key, operator=operator, value=[value] if operator in ("in", "nin") else value)
            for key, operator, value in tests
        ],
        condition=condition,
    )
    holds = build_metadata_filter_fn(lambda name: documents[int(name)], filters)
    expected = [i for i in range(len(documents)) if holds(str(i))]
    assert found_by_sql(documents, from_llama_index(filters)) == expected


def test_llama_indexs_orders_and_lists() -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters
    from llama_index.core.vector_stores.utils import build_metadata_filter_fn

    for key, operator, value, expected in (
        ("year", ">", 2001, [2]),
        ("year", ">=", 2001, [0, 2]),
        ("year", "<", 2001, [1]),
        ("year", "<=", 2001, [0, 1]),
        ("tags", "contains", "b", [0]),
        ("tags", "any", ["b", "z"], [0]),
        ("tags", "all", ["a", "b"], [0]),
        ("tags", "all", ["a", "z"], []),
        ("tags", "is_empty", None, [1, 2, 3, 4]),
    ):
        filters = MetadataFilters(filters=[MetadataFilter(key=key, operator=operator, value=value)])
        holds = build_metadata_filter_fn(lambda name: METADATA[int(name)], filters)
        assert [i for i in range(5) if holds(str(i))] == expected
        assert found_by_sql(METADATA, from_llama_index(filters)) == expected


def test_llama_indexs_filters_within_filters() -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.core.vector_stores.types import FilterOperator, MetadataFilter, MetadataFilters

    english, late = MetadataFilter(key="lang", value="en"), MetadataFilter(key="year", value=2005, operator=">")
    inner = MetadataFilters(filters=[english, late], condition="or")
    assert found_by_sql(METADATA, from_llama_index(MetadataFilters(filters=[inner], condition="not"))) == [1, 3, 4]
    assert from_llama_index(None) == from_llama_index(MetadataFilters(filters=[])) == {}
    for operator, value, message in (
        (FilterOperator.TEXT_MATCH, "e", "searches in the text"),
        (FilterOperator.EQ, None, "of null is true of nothing"),
        (FilterOperator.IN, "en", "needs a list"),
    ):
        with pytest.raises(InputError, match=message):
            from_llama_index(MetadataFilters(filters=[MetadataFilter(key="lang", value=value, operator=operator)]))
    with pytest.raises(InputError, match="not MetadataFilters but dict"):
        from_llama_index({"lang": "en"})


# ---- Haystack: its own evaluation -----------------------------------------------------------------------------------

HAYSTACK_TESTS = st.one_of(
    st.tuples(st.sampled_from(["==", "!="]), st.one_of(st.none(), SCALARS)),
    st.tuples(st.sampled_from(["in", "not in"]), st.lists(st.one_of(st.none(), SCALARS), max_size=2)),
)
COMPARISONS = st.builds(
    lambda field, test: {"field": f"meta.{field}", "operator": test[0], "value": test[1]},
    st.sampled_from("xy"),
    HAYSTACK_TESTS,
)
HAYSTACK = st.recursive(
    COMPARISONS,
    lambda inner: st.builds(
        lambda operator, conditions: {"operator": operator, "conditions": conditions},
        st.sampled_from(["AND", "OR", "NOT"]),
        st.lists(inner, max_size=3),
    ),
    max_leaves=5,
)


@given(FLAT, HAYSTACK)
def test_haystack(documents: list[dict[str, Any]], filters: dict[str, Any]) -> None:
    haystack = pytest.importorskip("haystack")
    from haystack.utils.filters import document_matches_filter

    given = [haystack.Document(content="", meta=meta) for meta in documents]
    expected = [i for i, document in enumerate(given) if document_matches_filter(filters, document)]
    assert found_by_sql(documents, from_haystack(filters)) == expected


def test_haystacks_orders_and_paths() -> None:
    haystack = pytest.importorskip("haystack")
    from haystack.utils.filters import document_matches_filter

    for field, operator, value, expected in (
        ("meta.year", ">", 2001, [2]),
        ("meta.year", ">=", 2001, [0, 2]),
        ("meta.year", "<", 2001, [1]),
        ("meta.year", "<=", 2001, [0, 1]),
        ("meta.source.site", "==", "y.org", [3]),
        ("meta.open", "!=", True, [1, 2, 3, 4]),
        ("lang", "==", "de", [1]),
    ):
        filters = {"field": field, "operator": operator, "value": value}
        documents = [haystack.Document(content="", meta=meta) for meta in METADATA]
        assert [i for i in range(5) if document_matches_filter(filters, documents[i])] == expected
        assert found_by_sql(METADATA, from_haystack(filters)) == expected
    assert from_haystack(None) == from_haystack({}) == {}


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"field": "content", "operator": "==", "value": "x"}, "content is no field of meta"),
        ({"field": "meta.at", "operator": ">", "value": "2020-01-01"}, "bounds are numbers here"),
        (
            {"field": "meta.at", "operator": "==", "value": "2020-01-01"},
            "compared by instant there, text by letter in saelex",
        ),
        ({"field": "meta.at", "operator": "in", "value": ["2020-01-01T00:00:00"]}, "by instant"),
        ({"field": "meta.tags", "operator": "==", "value": ["a"]}, "neither text"),
        ({"field": "meta.x", "operator": "in", "value": "a"}, "needs a list"),
        ({"field": "meta.x", "operator": ">", "value": None}, "bounds are numbers"),
        ({"field": "meta.x", "operator": "like", "value": "a"}, "unknown operator 'like'; known are =="),
        ({"field": "meta.x", "value": "a"}, "a comparison has field, operator and value"),
        ({"operator": "XOR", "conditions": []}, "neither a field nor conditions"),
        ({"meta.x": "a"}, "neither a field nor conditions"),
    ],
)
def test_what_haystack_means_otherwise(filters: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_haystack(filters)


# ---- in an index ----------------------------------------------------------------------------------------------------


def test_they_are_what_an_index_takes(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", FakeEncoder()) as index:
        index.add([{"id": str(i), "text": "wing", **metadata} for i, metadata in enumerate(METADATA)])
        for where, expected in (
            (from_chroma({"$or": [{"lang": "de"}, {"year": {"$gte": 2001}}]}), {"0", "1", "2"}),
            (from_qdrant({"must_not": [{"is_empty": {"key": "year"}}]}), {"0", "1", "2"}),
            (from_haystack({"field": "meta.open", "operator": "!=", "value": True}), {"1", "2", "3", "4"}),
        ):
            assert {hit.id for hit in index.search("wing", where=where)} == expected


@pytest.mark.parametrize("read", [from_chroma, from_qdrant, from_haystack])
def test_refusals_are_one_line(read: Callable[[Any], Any]) -> None:
    with pytest.raises(InputError, match="is no dictionary") as caught:
        read("lang = en\nand more")
    assert "\n" not in str(caught.value)
