"""Haystack's components in its own pipelines, saved and loaded."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.index.fakes import FakeEncoder, make_documents

pytest.importorskip("haystack")
import haystack
from haystack import Document, Pipeline
from haystack.components.joiners import DocumentJoiner
from haystack.components.writers import DocumentWriter
from haystack.dataclasses import ByteStream
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.telemetry import _telemetry

from saelex.encoder.encoder import Encoder
from saelex.errors import InputError
from saelex.index.index import Index
from saelex.integrations.haystack import SaelexRetriever, SaelexSparseDocumentEmbedder, SaelexSparseTextEmbedder
from saelex.vectors import SparseRows

QUERY = "storm at the bank"
# Haystack 3 reads what it is told to trust, and has one pipeline in place of two
TRUSTING = {} if haystack.__version__ < "3" else {"allowed_modules": ["saelex.integrations.haystack"]}
Asynchronous = haystack.AsyncPipeline if haystack.__version__ < "3" else Pipeline
LATE = {"field": "meta.year", "operator": ">=", "value": 2000}


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that encoders were loaded by; the fake one comes of all."""
    names: list[str] = []

    def load(name: str) -> FakeEncoder:
        names.append(name)
        return FakeEncoder()

    monkeypatch.setattr(Encoder, "load", load)
    return names


def test_nothing_is_sent_home() -> None:
    assert _telemetry.telemetry is None


def test_documents_are_the_hits(index: Index) -> None:
    hits = index.search(QUERY, k=5)
    found = SaelexRetriever(index, top_k=5).run(query=QUERY)["documents"]
    assert [(one.id, one.content, one.score) for one in found] == [(hit.id, hit.text, hit.score) for hit in hits]
    for one, hit in zip(found, hits):
        assert {key: value for key, value in one.meta.items() if key != "saelex"} == hit.document.metadata
        assert one.meta["saelex"] == {
            "id": hit.id, "title": hit.document.title, "passage": [hit.passage.start, hit.passage.end],
        }  # fmt: skip


def test_filters_of_a_run_take_the_place_of_others_and_where_always_holds(index: Index) -> None:
    english = {"field": "meta.lang", "operator": "==", "value": "en"}
    retriever = SaelexRetriever(index, top_k=50, filters=english, options={"where": {"year": {"<": 2005}}})
    assert ids(retriever.run(QUERY)) == ids_of(index, {"lang": "en", "year": {"<": 2005}})
    assert ids(retriever.run(QUERY, filters=LATE)) == ids_of(index, {"year": {">=": 2000, "<": 2005}})
    assert ids(retriever.run(QUERY, filters={})) == ids_of(index, {"year": {"<": 2005}})
    assert ids(retriever.run(QUERY, top_k=1)) == ids_of(index, {"lang": "en", "year": {"<": 2005}})[:1]


def test_reasons_and_snippets_on_request(index: Index) -> None:
    [found] = SaelexRetriever(index, top_k=1, explain=True, snippet_words=6).run(QUERY)["documents"]
    hit = index.search(QUERY, k=1)[0]
    told = found.meta["saelex"]
    assert sum(row["contribution"] for row in told["explanation"]) == pytest.approx(hit.score, abs=1e-9)
    assert told["snippet"] == hit.snippet(6).text


def test_a_saved_pipeline_answers_as_before(index: Index, loaded: list[str]) -> None:
    pipeline = Pipeline()
    pipeline.add_component("some", SaelexRetriever(index, top_k=4, filters=LATE, options={"words": False}))
    pipeline.add_component("join", DocumentJoiner())
    pipeline.connect("some", "join")
    before = pipeline.run({"some": {"query": QUERY}})
    again = Pipeline.loads(pipeline.dumps(), **TRUSTING)
    retriever = again.get_component("some")
    assert retriever.to_dict() == pipeline.get_component("some").to_dict()
    assert not isinstance(retriever.index, Index) and loaded == []  # nothing is opened by reading a pipeline
    again.warm_up()
    assert isinstance(retriever.index, Index) and loaded == [index.encoder.name]
    assert again.run({"some": {"query": QUERY}}) == before
    assert ids(before["join"]) == ids_of(index, {"year": {">=": 2000}}, words=False)[:4]
    assert retriever.to_dict() == pipeline.get_component("some").to_dict()
    retriever.index.close()


def test_embedded_documents_in_a_store_score_as_our_dot_products(encoder: FakeEncoder, loaded: list[str]) -> None:
    texts = [document.text for document in make_documents(30)]
    store = InMemoryDocumentStore()
    pipeline = Pipeline()
    pipeline.add_component("embedder", SaelexSparseDocumentEmbedder("fake"))
    pipeline.add_component("writer", DocumentWriter(store))
    pipeline.connect("embedder", "writer")
    pipeline = Pipeline.loads(pipeline.dumps(), **TRUSTING)
    pipeline.get_component("writer").document_store = store
    given = [Document(id=str(i), content=text, meta={"i": i}) for i, text in enumerate(texts)]
    pipeline.run({"embedder": {"documents": given}})
    assert loaded == ["fake"]
    assert all(document.sparse_embedding is None for document in given)  # what was given stays as it was

    stored = sorted(store.filter_documents(), key=lambda document: document.meta["i"])
    query = SaelexSparseTextEmbedder(encoder).run(QUERY)["sparse_embedding"]
    vectors = [dict(zip(each.indices, each.values)) for each in (query, *(one.sparse_embedding for one in stored))]
    rows = SparseRows.from_dicts(vectors, encoder.n_latents)
    expected = encoder.encode_query([QUERY]).dot(encoder.encode_document(texts))
    assert np.count_nonzero(expected) > 5
    np.testing.assert_array_equal(rows[:1].dot(rows[1:]), expected)


def test_fields_before_the_content(encoder: FakeEncoder) -> None:
    embedder = SaelexSparseDocumentEmbedder(encoder, meta_fields_to_embed=["title", "none"], embedding_separator=" ")
    [document] = embedder.run([Document(content="lift", meta={"title": "wing", "none": None})])["documents"]
    latents, weights = encoder.encode_document(["wing lift"]).row(0)
    assert document.sparse_embedding.to_dict() == {"indices": latents.tolist(), "values": weights.tolist()}
    saved = embedder.to_dict()
    assert saved["init_parameters"] == {
        "encoder": encoder.name, "meta_fields_to_embed": ["title", "none"], "embedding_separator": " ",
    }  # fmt: skip
    assert SaelexSparseDocumentEmbedder.from_dict(saved).to_dict() == saved
    saved = SaelexSparseTextEmbedder(encoder).to_dict()
    assert saved["init_parameters"] == {"encoder": encoder.name}
    assert SaelexSparseTextEmbedder.from_dict(saved).to_dict() == saved


def test_coroutines_give_the_same(index: Index, encoder: FakeEncoder) -> None:
    pipeline = Asynchronous()
    for name, component in {
        "text": SaelexSparseTextEmbedder(encoder),
        "documents": SaelexSparseDocumentEmbedder(encoder),
        "hits": SaelexRetriever(index.path, top_k=3),
    }.items():
        pipeline.add_component(name, component)
    asked = {"text": {"text": QUERY}, "documents": {"documents": [Document(content="wing")]}, "hits": {"query": QUERY}}
    together = pipeline.run(asked)
    assert asyncio.run(pipeline.run_async(asked)) == together
    retriever = pipeline.get_component("hits")
    expected = [ids_of(index, {}, query)[:3] for query in ("wing", "bank", "zip")]

    async def ask() -> list[Any]:
        return await asyncio.gather(*(retriever.run_async(query) for query in ("wing", "bank", "zip")))

    assert [ids(answer) for answer in asyncio.run(ask())] == expected
    retriever.index.close()


def test_refusals_are_saelexs(index: Index, encoder: FakeEncoder, tmp_path: Path) -> None:
    retriever = SaelexRetriever(index)
    for query, settings, message in (
        (" ", {}, "query 1 is empty"),
        (QUERY, {"top_k": 0}, "k is the number of hits wanted"),
        (QUERY, {"filters": {"field": "content", "operator": "==", "value": "x"}}, "content is no field of meta"),
        (QUERY, {"filters": {"field": "meta.x", "operator": "==", "value": "x"}}, "no document has the field 'x'"),
    ):
        with pytest.raises(InputError, match=message):
            retriever.run(query, **settings)
        with pytest.raises(InputError, match=message):
            asyncio.run(retriever.run_async(query, **settings))
    with pytest.raises(InputError, match="query 1 is empty"):
        SaelexSparseTextEmbedder(encoder).run("")
    with pytest.raises(InputError, match="has no content to encode"):
        SaelexSparseDocumentEmbedder(encoder).run([Document(blob=ByteStream(b"x"))])
    with pytest.raises(InputError, match="is no option of a search"):
        SaelexRetriever(index, options={"limit": 3}).run(QUERY)
    with pytest.raises(Exception, match="nowhere"):
        SaelexRetriever(tmp_path / "nowhere").warm_up()


def ids(answer: dict[str, Any]) -> list[str]:
    return [document.id for document in answer["documents"]]


def ids_of(index: Index, where: dict[str, Any], query: str = QUERY, words: bool = True) -> list[str]:
    return [hit.id for hit in index.search(query, k=50, where=where, words=words)]
