from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.encoder.tiny_encoders import tiny_encoder
from tests.encoder.tiny_models import TEXTS, tiny_checkpoint

from saelex.corpus.collection import Collection
from saelex.corpus.documents import Document, Query
from saelex.corpus.opening import read_collection
from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.dense.backbone_embedder import BackboneEmbedder
from saelex.encoder.dense.settings import DenseSettings
from saelex.encoder.weighting import LatentWeighting
from saelex.errors import InputError
from saelex.evaluation.baselines import bm25_run, dense_run
from saelex.evaluation.encoded import (
    BM25,
    DENSE,
    FUSION,
    EncodedCollection,
    JudgedDocuments,
    Measured,
    baseline_measures,
    bm25_alone,
    mean_measured,
)
from saelex.evaluation.evaluate import evaluate_collections
from saelex.evaluation.fusion import reciprocal_rank_fusion
from saelex.evaluation.measures import measure
from saelex.evaluation.vectors_cache import VectorsCache


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Documents of one to three of the texts, so that some are searched by passage; three queries, one empty text."""
    root = tmp_path_factory.mktemp("data") / "tiny"
    (root / "qrels").mkdir(parents=True)
    texts = [" ".join(TEXTS[i : i + 1 + i % 3]) for i in range(len(TEXTS))]
    documents = [{"_id": f"d{i}", "text": text} for i, text in enumerate(texts)] + [{"_id": "empty", "text": ""}]
    queries = [{"_id": f"q{i}", "text": text} for i, text in enumerate(["wing lift", "money in a bank", "air flow"])]
    (root / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (root / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (root / "qrels" / "test.tsv").write_text("q0\td0\t1\nq0\td1\t2\nq1\td5\t1\nq2\td2\t1\n")
    return read_collection(root)


def test_relevant_documents_that_the_corpus_lacks_are_said(
    collection: Collection, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        JudgedDocuments.read(collection)
        JudgedDocuments.read(replace(collection, qrels={"q0": {"d0": 1, "empty": 0, "nowhere": 0}}))
    assert caplog.messages == []
    with caplog.at_level(logging.WARNING):
        JudgedDocuments.read(replace(collection, qrels={"q0": {"d0": 1, "x1": 1}, "q1": {"x1": 2, "x2": 1}}))
    assert caplog.messages == ["tiny:test: 2 of 3 relevant documents are not in the corpus"]
    with pytest.raises(InputError, match="tiny:test: none of the 2 relevant documents is in the corpus, not even '10'"):
        JudgedDocuments.read(replace(collection, qrels={"q0": {"10": 1}, "q1": {"11": 1, "d0": 0}}))


def test_empty_relevant_documents_are_warned_of(collection: Collection, caplog: pytest.LogCaptureFixture) -> None:
    documents = [*collection.documents(), Document("void", " ")]
    changed = replace(collection, qrels={"q0": {"d0": 1}, "q1": {"void": 1}}, read_documents=lambda: iter(documents))
    assert "void" not in [one.id for one in JudgedDocuments.read(changed).documents]
    assert caplog.messages == ["tiny:test: 1 of 2 relevant documents are empty, and so never found"]


def test_a_querys_own_document_is_left_out_everywhere(
    collection: Collection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = {one.id: one for one in collection.documents()}
    first, second = sorted(name for name, one in texts.items() if one.content)[:2]
    queries = [Query(first, texts[first].content)]
    own = replace(collection, queries=queries, qrels={first: {second: 1}}, ignore_own_ids=True)
    judged = JudgedDocuments.read(own)
    assert "1 of 1 queries are documents too; a query's own id is left out of what it finds" in caplog.messages[0]
    encoder = tiny_encoder(tmp_path / "bert")
    encoded = EncodedCollection.encode(encoder, judged, VectorsCache(tmp_path / "cache"))
    vectors = encoded.vectors((None, None))
    assert first not in encoded.run(*vectors)[first]
    kept = replace(encoded, judged=replace(judged, collection=replace(own, ignore_own_ids=False)))
    assert first in kept.run(*vectors)[first]
    cache = VectorsCache(tmp_path / "cache")
    assert first not in bm25_alone(judged, cache)[first]
    assert first in bm25_alone(kept.judged, cache)[first]
    evaluation = evaluate_collections([own], encoder, against=["bm25"], cache=cache)
    assert all(first not in row.run[first] for row in evaluation.collections[0].systems)


@pytest.mark.parametrize("weighted", [False, True])
def test_measures_equal_those_of_the_index(collection: Collection, tmp_path: Path, weighted: bool) -> None:
    encoder = tiny_encoder(tmp_path / "bert", max_document_length=14, query_top_k=5, document_top_k=9, word_scale=0.7)
    if weighted:
        encoder.weighting = LatentWeighting.fit([encoder.encode_document(TEXTS, top_k=None)])
    judged = JudgedDocuments.read(collection)
    encoded = EncodedCollection.encode(encoder, judged, VectorsCache(tmp_path / "cache"))
    assert len(encoded.passages) > len(judged.documents)
    evaluation = evaluate_collections([collection], encoder, cache=VectorsCache(tmp_path / "cache"))
    for row in evaluation.collections[0].systems:
        found = encoded.measured((5, 9), 0.7 if row.system == "concepts+words" else None)
        assert found.measures == pytest.approx(row.measures, abs=1e-3)
        assert row.costs is not None and found.query_active == pytest.approx(row.costs.query_active)
        # the index leaves out weights that round to 0
        assert found.document_active == pytest.approx(row.costs.document_active, abs=0.3)


def test_shared_columns_are_those_of_the_dense_products(collection: Collection, tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path / "bert", max_document_length=14)
    encoded = EncodedCollection.encode(encoder, JudgedDocuments.read(collection), VectorsCache(tmp_path / "cache"))
    for top_k in ((3, 8), (None, None)):
        queries, passages = encoded.queries.top_k(top_k[0]), encoded.passages.top_k(top_k[1])
        for scale in (None, 2.0):
            pairs = [(queries, passages), (encoded.query_words, encoded.passage_words)][: 1 if scale is None else 2]
            shared = sum((q.to_dense() > 0).astype(float) @ (p.to_dense() > 0).T for q, p in pairs)
            found = encoded.measured(top_k, scale)
            assert found.qd_flops == pytest.approx(np.mean(shared))
            assert found.query_active == pytest.approx(sum(q.lengths.mean() for q, _ in pairs))


def test_the_scale_multiplies_the_words(collection: Collection, tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path / "bert", max_document_length=14)
    judged = JudgedDocuments.read(collection)
    encoded = EncodedCollection.encode(encoder, judged, VectorsCache(tmp_path / "cache"))
    concepts = encoded.queries.to_dense() @ encoded.passages.to_dense().T
    words = encoded.query_words.to_dense() @ encoded.passage_words.to_dense().T
    found = []
    for scale in (0.01, 100.0):
        best = [part.max(1) for part in np.split(concepts + scale * words, encoded.first_passages[1:], axis=1)]
        scores = np.stack(best, axis=1)  # [queries, documents]
        run = {
            query.id: {name: float(score) for name, score in zip(judged.ids.tolist(), row) if score > 0}
            for query, row in zip(collection.queries, scores)
        }
        found.append(measure(collection.qrels, run))
        assert encoded.measured((None, None), scale).measures == pytest.approx(found[-1])
    assert found[0] != found[1]


def test_baselines_and_their_fusion(collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_checkpoint("bert", tmp_path / "dense")
    embedder = BackboneEmbedder(Backbone.load(folder, output="final"), DenseSettings(max_length=16))
    judged, cache = JudgedDocuments.read(collection), VectorsCache(tmp_path / "cache")
    runs = [bm25_run(judged.documents, collection.queries), dense_run(embedder, judged.documents, collection.queries)]
    wanted = [measure(collection.qrels, run) for run in (*runs, reciprocal_rank_fusion(runs))]
    found = baseline_measures(judged, embedder, cache)
    assert list(found) == [BM25, DENSE, FUSION]
    assert [one.measures for one in found.values()] == wanted
    monkeypatch.setattr(embedder, "embed", None)  # a second time nothing is embedded
    assert baseline_measures(judged, embedder, cache) == found


def test_the_mean_counts_every_collection_alike() -> None:
    rows = [Measured({"nDCG@10": 0.5}, 30, 100, 2.0), Measured({"nDCG@10": 0.2}, 40, 300, 1.0)]
    assert mean_measured(rows) == Measured({"nDCG@10": 0.35}, 35, 200, 1.5)
    assert mean_measured([Measured({"nDCG@10": 0.5})]) == Measured({"nDCG@10": 0.5})
