"""Our vectors in Qdrant's in-memory mode, through langchain-qdrant, against dot products of our own."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from tests.index.fakes import FakeEncoder, make_documents

pytest.importorskip("langchain_qdrant")
from langchain_core.documents import Document
from langchain_qdrant import QdrantVectorStore, RetrievalMode
from langchain_qdrant.sparse_embeddings import SparseEmbeddings
from qdrant_client import QdrantClient, models

from saelex.errors import InputError
from saelex.integrations.langchain_qdrant import SaelexSparseEmbeddings

TEXTS = [document.text for document in make_documents(30)]
QUERIES = ["storm at the bank", "wing lift drag", "only7 canoe"]


def test_scores_in_qdrant_are_our_dot_products(encoder: FakeEncoder) -> None:
    embeddings = SaelexSparseEmbeddings(encoder)
    assert isinstance(embeddings, SparseEmbeddings)
    client = QdrantClient(":memory:")
    client.create_collection("c", vectors_config={}, sparse_vectors_config={"s": models.SparseVectorParams()})
    store = QdrantVectorStore(
        client, "c", sparse_embedding=embeddings, sparse_vector_name="s", retrieval_mode=RetrievalMode.SPARSE
    )
    store.add_documents([Document(text, metadata={"i": i}) for i, text in enumerate(TEXTS)])
    expected = encoder.encode_query(QUERIES).dot(encoder.encode_document(TEXTS))
    assert np.count_nonzero(expected) > 20
    for query, scores in zip(QUERIES, expected):
        found = {one.metadata["i"]: score for one, score in store.similarity_search_with_score(query, k=30)}
        assert found == pytest.approx({i: score for i, score in enumerate(scores) if score}, rel=1e-5)
        assert found == {one.metadata["i"]: score for one, score in asyncio.run(later(store, query))}


async def later(store: QdrantVectorStore, query: str) -> list[tuple[Document, float]]:
    return await store.asimilarity_search_with_score(query, k=30)


def test_coroutines_give_the_same(encoder: FakeEncoder) -> None:
    embeddings = SaelexSparseEmbeddings(encoder)
    assert asyncio.run(embeddings.aembed_documents(TEXTS)) == embeddings.embed_documents(TEXTS)
    assert asyncio.run(embeddings.aembed_query("wing")) == embeddings.embed_query("wing")
    assert embeddings.embed_documents([]) == []


def test_a_query_without_a_word_is_refused(encoder: FakeEncoder) -> None:
    with pytest.raises(InputError, match="query 1 is empty"):
        SaelexSparseEmbeddings(encoder).embed_query(" ")
    with pytest.raises(InputError, match="no-such-model"):
        SaelexSparseEmbeddings("no-such-model")
