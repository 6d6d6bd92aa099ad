"""LangChain's own retriever interface over an index."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.index.fakes import FakeEncoder, make_documents

pytest.importorskip("langchain_core")
from langchain_core.prompts import format_document
from langchain_core.prompts.prompt import PromptTemplate
from langchain_core.runnables import RunnableLambda

from saelex.errors import InputError
from saelex.index.index import Index
from saelex.integrations.filters import from_chroma
from saelex.integrations.langchain import SaelexRetriever

QUERY = "storm at the bank"


def test_documents_are_the_hits(index: Index) -> None:
    hits = index.search(QUERY, k=5)
    found = SaelexRetriever(index=index, k=5).invoke(QUERY)
    assert [(one.id, one.page_content, one.metadata["saelex"]["score"]) for one in found] == [
        (hit.id, hit.text, hit.score) for hit in hits
    ]
    assert [one.metadata["saelex"]["rank"] for one in found] == [1, 2, 3, 4, 5]
    for one, hit in zip(found, hits):
        start, end = one.metadata["saelex"]["passage"]
        assert hit.document.content[start:end] == one.page_content
        assert {key: value for key, value in one.metadata.items() if key != "saelex"} == hit.document.metadata
        assert one.metadata["saelex"].keys() == {"id", "title", "passage", "rank", "score"}


def test_the_passage_of_a_long_document(index: Index) -> None:
    [found] = SaelexRetriever(index=index, k=1).invoke("sail storm canoe", where={"tags": "sport"})
    assert found.id == "long" and found.metadata["saelex"]["title"] == "Boats"
    whole = index.document("long").content
    assert len(found.page_content) < len(whole) and found.page_content in whole


def test_a_call_may_have_its_own_settings(index: Index) -> None:
    retriever = SaelexRetriever(index=index, k=7, options={"where": {"lang": "en"}})
    assert [one.id for one in retriever.invoke(QUERY)] == ids(index, QUERY, 7, where={"lang": "en"})
    german = retriever.invoke(QUERY, k=2, where={"lang": "de"}, words=False)
    assert [one.id for one in german] == ids(index, QUERY, 2, where={"lang": "de"}, words=False)
    filters = from_chroma({"$or": [{"year": {"$lt": 1993}}, {"year": {"$gte": 2008}}]})
    years = {one.metadata["year"] for one in SaelexRetriever(index=index, k=50).invoke(QUERY, where=filters)}
    assert years and years <= {1990, 1991, 1992, 2008, 2009}


def test_reasons_and_snippets_on_request(index: Index) -> None:
    [found] = SaelexRetriever(index=index, k=1, explain=True, snippet_words=6).invoke(QUERY)
    told = json.loads(json.dumps(found.metadata["saelex"]))  # they are JSON
    hit = index.search(QUERY, k=1)[0]
    assert sum(row["contribution"] for row in told["explanation"]) == pytest.approx(hit.score, abs=1e-9)
    snippet = hit.snippet(6)
    assert (told["snippet"], told["marks"]) == (snippet.text, [[mark.start, mark.end] for mark in snippet.marks])
    assert told["marks"]


def test_async_is_beside_the_event_loop(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    asearch = index.asearch

    async def noted(query: str, k: int, **options: Any) -> Any:
        asked.append(query)
        return await asearch(query, k, **options)

    monkeypatch.setattr(index, "asearch", noted)
    retriever = SaelexRetriever(index=index, k=3, snippet_words=5)
    queries = ["wing lift", "river bank", "zip archive"]

    async def ask() -> list[Any]:
        return await asyncio.gather(*(retriever.ainvoke(query) for query in queries))

    assert asyncio.run(ask()) == [retriever.invoke(query) for query in queries]
    assert sorted(asked) == sorted(queries)
    assert asyncio.run(retriever.abatch(queries)) == retriever.batch(queries)


def test_in_a_chain(index: Index) -> None:
    prompt = PromptTemplate.from_template("{year}: {page_content}")
    chain = SaelexRetriever(index=index, k=2) | RunnableLambda(
        lambda documents: [format_document(one, prompt) for one in documents]
    )
    hits = index.search(QUERY, k=2)
    assert chain.invoke(QUERY) == [f"{hit.document.metadata['year']}: {hit.text}" for hit in hits]


@pytest.mark.parametrize(
    ("query", "settings", "message"),
    [
        (" ", {}, "query 1 is empty"),
        (QUERY, {"k": 0}, "k is the number of hits wanted"),
        (QUERY, {"where": {"nothing": 1}}, "no document has the field 'nothing'"),
        (QUERY, {"filter": {"lang": "en"}}, "'filter' is no option of a search; known are mode, boost"),
    ],
)
def test_refusals_are_saelexs(index: Index, query: str, settings: dict[str, Any], message: str) -> None:
    retriever = SaelexRetriever(index=index)
    with pytest.raises(InputError, match=message):
        retriever.invoke(query, **settings)
    with pytest.raises(InputError, match=message):
        asyncio.run(retriever.ainvoke(query, **settings))


def test_an_index_is_an_index(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Index"):
        SaelexRetriever(index=str(tmp_path))


def test_new_documents_are_seen(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", FakeEncoder()) as index:
        retriever = SaelexRetriever(index=index)
        index.add(make_documents(3))
        assert [one.id for one in retriever.invoke("only1")] == ["d1"]


def ids(index: Index, query: str, k: int, **options: Any) -> list[str]:
    return [hit.id for hit in index.search(query, k, **options)]
