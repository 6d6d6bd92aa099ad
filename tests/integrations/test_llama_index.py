"""LlamaIndex's own retriever interface over an index."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("llama_index.core")
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode, get_response_synthesizer
from llama_index.core.schema import MetadataMode, QueryBundle
from llama_index.core.vector_stores import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from saelex.errors import InputError
from saelex.index.index import Index
from saelex.integrations.llama_index import SaelexRetriever

QUERY = "storm at the bank"
ENGLISH = MetadataFilters(filters=[MetadataFilter(key="lang", value="en")])


def test_nodes_are_the_hits(index: Index) -> None:
    hits = index.search(QUERY, k=5)
    nodes = SaelexRetriever(index, 5).retrieve(QUERY)
    assert [(one.node_id, one.text, one.score) for one in nodes] == [(hit.id, hit.text, hit.score) for hit in hits]
    for one, hit in zip(nodes, hits):
        assert one.metadata["year"] == hit.document.metadata["year"]
        assert one.metadata["saelex"]["title"] == hit.document.title
        assert one.node.ref_doc_id == hit.id
        assert hit.document.content[one.node.start_char_idx : one.node.end_char_idx] == hit.text
        for mode in (MetadataMode.LLM, MetadataMode.EMBED):
            seen = one.node.get_content(mode)
            assert f"year: {hit.document.metadata['year']}" in seen and "saelex" not in seen


def test_filters_and_options_both_hold(index: Index) -> None:
    late = {"year": {">=": 2000}}
    nodes = SaelexRetriever(index, 50, filters=ENGLISH, options={"where": late, "words": False}).retrieve(QUERY)
    hits = index.search(QUERY, 50, where={"lang": "en", **late}, words=False)
    assert [one.node_id for one in nodes] == [hit.id for hit in hits] != []


def test_equal_passages_stay_equal_for_fusion(index: Index) -> None:
    """Fusion of queries merges nodes by hash: nothing in them may depend on the query."""
    retriever = SaelexRetriever(index, 50)
    one, other = ({node.node_id: node.node.hash for node in retriever.retrieve(query)} for query in (QUERY, "bank"))
    shared = (one.keys() & other.keys()) - {"long"}  # of which another passage may be the best
    assert shared and all(one[name] == other[name] for name in shared)


def test_reasons_and_snippets_on_request(index: Index) -> None:
    [node] = SaelexRetriever(index, 1, explain=True, snippet_words=6).retrieve(QUERY)
    hit = index.search(QUERY, k=1)[0]
    told = node.metadata["saelex"]
    assert sum(row["contribution"] for row in told["explanation"]) == pytest.approx(hit.score, abs=1e-9)
    assert told["snippet"] == hit.snippet(6).text
    [plain] = SaelexRetriever(index, 1).retrieve(QUERY)
    assert not plain.metadata["saelex"].keys() & {"snippet", "explanation"}


def test_async_is_beside_the_event_loop(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    asearch = index.asearch

    async def noted(query: str, k: int, **options: Any) -> Any:
        asked.append(query)
        return await asearch(query, k, **options)

    monkeypatch.setattr(index, "asearch", noted)
    retriever = SaelexRetriever(index, 3, filters=ENGLISH)
    queries = ["wing lift", "river bank", "zip archive"]

    async def ask() -> list[Any]:
        return await asyncio.gather(*(retriever.aretrieve(QueryBundle(query)) for query in queries))

    assert asyncio.run(ask()) == [retriever.retrieve(query) for query in queries]
    assert sorted(asked) == sorted(queries)


def test_in_a_query_engine(index: Index) -> None:
    synthesizer = get_response_synthesizer(llm=MockLLM(), response_mode=ResponseMode.COMPACT)
    engine = RetrieverQueryEngine(SaelexRetriever(index, 2), response_synthesizer=synthesizer)
    answer = engine.query(QUERY)
    hits = index.search(QUERY, k=2)
    assert [one.node_id for one in answer.source_nodes] == [hit.id for hit in hits]
    assert all(hit.text in str(answer) for hit in hits)  # the mock model says its prompt


def test_refusals_are_saelexs(index: Index) -> None:
    with pytest.raises(InputError, match="query 1 is empty"):
        SaelexRetriever(index).retrieve(" ")
    with pytest.raises(InputError, match="query 1 is empty"):
        asyncio.run(SaelexRetriever(index).aretrieve(" "))
    with pytest.raises(InputError, match="'top_k' is no option of a search"):
        SaelexRetriever(index, options={"top_k": 3})
    searched = MetadataFilters(
        filters=[MetadataFilter(key="lang", value="e", operator=FilterOperator.TEXT_MATCH)],
        condition=FilterCondition.AND,
    )
    with pytest.raises(InputError, match="searches in the text of a field"):
        SaelexRetriever(index, filters=searched)
