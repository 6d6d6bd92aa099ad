from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.encoder.tiny_encoders import tiny_encoder
from tests.encoder.tiny_models import TEXTS

from saelex.corpus.collection import Collection, read_collection
from saelex.encoder.encoder import Encoder
from saelex.encoder.lexical import LexicalChannel
from saelex.errors import InputError
from saelex.evaluation.evaluate import evaluate_collections, index_runs, mean_rows
from saelex.evaluation.measures import measure


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return tiny_encoder(tmp_path_factory.mktemp("evaluate") / "bert")


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    root = tmp_path / "tiny"
    (root / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "text": text} for i, text in enumerate(TEXTS)] + [{"_id": "empty", "text": ""}]
    queries = [{"_id": "1", "text": "wing lift"}, {"_id": "2", "text": "money in a bank"}]
    (root / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (root / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (root / "qrels" / "test.tsv").write_text("1\td0\t1\n1\td1\t2\n2\td5\t1\n")
    return read_collection(root)


def test_runs_are_the_dot_products_of_the_vectors(collection: Collection, encoder: Encoder) -> None:
    documents = [document for document in collection.documents() if document.content]
    runs = index_runs(collection, documents, encoder)
    texts = [document.content for document in documents]
    queries = [query.text for query in collection.queries]
    channel = LexicalChannel().fit(texts)
    latents = encoder.encode_query(queries), encoder.encode_document(texts)
    both = tuple(rows.beside(words) for rows, words in zip(latents, (channel.query(queries), channel.document(texts))))
    for name, (query_rows, document_rows) in {"concepts": latents, "concepts+words": both}.items():
        scores = query_rows.dot(document_rows)
        for i, query in enumerate(collection.queries):
            wanted = {documents[j].id: float(scores[i, j]) for j in np.flatnonzero(scores[i])}
            assert runs[name].run[query.id] == pytest.approx(wanted, rel=2e-3)
        assert runs[name].query_latents == pytest.approx(query_rows.lengths.mean())
        assert runs[name].document_latents == pytest.approx(document_rows.lengths.mean(), abs=0.3)


def test_rows_measure_those_runs(collection: Collection, encoder: Encoder) -> None:
    rows = list(evaluate_collections([collection, collection], encoder, against=["bm25"]))
    assert [row.system for row in rows] == 2 * ["bm25", "concepts", "concepts+words"]
    documents = sorted((one for one in collection.documents() if one.content), key=lambda one: one.id)
    runs = index_runs(collection, documents, encoder)
    assert rows[1].measures == measure(collection.qrels, runs["concepts"].run)
    assert (rows[0].queries, rows[0].documents, rows[0].query_latents) == (2, len(TEXTS), None)
    means = mean_rows(rows)
    assert [(row.collection, row.system) for row in means] == [("mean", row.system) for row in rows[:3]]
    assert means[2].measures == pytest.approx(rows[2].measures)
    assert json.dumps([row.to_json() for row in rows + means])


def test_unknown_baselines_and_backbones_without_a_sentence_embedding(collection: Collection, encoder: Encoder) -> None:
    with pytest.raises(InputError, match="unknown baseline 'splade'"):
        list(evaluate_collections([collection], encoder, against=["splade"]))
    with pytest.raises(InputError, match="no dense baseline"):
        list(evaluate_collections([collection], encoder, against=["dense"]))
