from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import Stemmer
import torch

from saelex.corpus.documents import Document, Query
from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.low_rank import LowRankUpdate
from saelex.encoder.dense.embedder import load_embedder
from saelex.errors import InputError
from saelex.evaluation.baselines import bm25_run, dense_of, dense_run

DOCUMENTS = [
    Document("d1", "wings create lift when the air flows over a wing", "lift of wings"),
    Document("d2", "the drag of a body in flowing air"),
    Document("d3", "heat transfer in a boundary layer", "boundary layers"),
    Document("d4", "lift and drag, drag and lift", "forces"),
    Document("d5", ""),
]
QUERIES = [
    Query("q1", "lift of a wing, lifting"),
    Query("q2", "flow drag"),
    Query("q3", "zebra"),
    Query("q4", "the of"),
]


def test_bm25_equals_its_formula() -> None:
    """Lucene's BM25: idf = ln(1 + (N - df + 0.5) / (df + 0.5)), tf / (tf + k1 (1 - b + b length / mean length))."""
    stem = Stemmer.Stemmer("english").stemWord
    stop = {"of", "a", "the", "in", "and", "when", "over"}

    def terms(text: str) -> list[str]:
        words = [word.strip(",") for word in text.lower().split()]
        return [stem(word) for word in words if len(word) > 1 and word not in stop]

    texts = {document.id: Counter(terms(document.content)) for document in DOCUMENTS}
    mean_length = sum(sum(counts.values()) for counts in texts.values()) / len(texts)
    wanted: dict[str, dict[str, float]] = {}
    for query in QUERIES:
        wanted[query.id] = {}
        for name, counts in texts.items():
            score = 0.0
            for term in terms(query.text):
                df = sum(term in other for other in texts.values())
                idf = math.log(1 + (len(texts) - df + 0.5) / (df + 0.5))
                tf = counts[term]
                score += idf * tf / (tf + 0.9 * (1 - 0.4 + 0.4 * sum(counts.values()) / mean_length))
            if score:
                wanted[query.id][name] = pytest.approx(score, rel=1e-5)
    found = bm25_run(DOCUMENTS, QUERIES)
    assert found == wanted
    assert found["q3"] == found["q4"] == {}
    assert len(found["q1"]) == 2


def test_the_depth_cuts_after_the_rule_for_ties() -> None:
    same = [Document(name, "lift") for name in ("c", "a", "b")] + [Document("z", "drag")]
    assert list(bm25_run(same, [Query("q", "lift")], depth=2)["q"]) == ["a", "b"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random BERT in sentence-transformers' layout, written by sentence-transformers itself."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
    from transformers import BertConfig, BertModel, BertTokenizerFast

    raw = tmp_path_factory.mktemp("raw")
    words = sorted({word.strip(",").lower() for document in DOCUMENTS for word in document.content.split()})
    (raw / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", *words]))
    tokenizer = BertTokenizerFast(vocab=str(raw / "vocab.txt"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words) + 6,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
    )
    BertModel(config).save_pretrained(raw / "bert")
    tokenizer.save_pretrained(raw / "bert")
    transformer = Transformer(str(raw / "bert"), max_seq_length=8)
    target = tmp_path_factory.mktemp("st") / "model"
    SentenceTransformer(modules=[transformer, Pooling(16), Normalize()], device="cpu").save(str(target))
    return target


def test_the_embedding_equals_sentence_transformers(folder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    texts = [document.content for document in DOCUMENTS] + ["lift", "zebra drag " * 20]
    wanted = SentenceTransformer(str(folder), device="cpu").encode(texts)
    np.testing.assert_allclose(load_embedder(folder, batch_size=2).embed(texts, "document"), wanted, atol=1e-6)


def test_dense_run_is_the_cosine(folder: Path) -> None:
    embedder = load_embedder(folder)
    run = dense_run(embedder, DOCUMENTS, QUERIES[:2], depth=3)
    queries = embedder.embed([query.text for query in QUERIES[:2]], "query")
    cosine = queries @ embedder.embed([document.content for document in DOCUMENTS], "document").T
    for query, scores in zip(QUERIES, cosine):
        best = np.argsort(-scores)[:3]
        assert list(run[query.id]) == [DOCUMENTS[i].id for i in best]
        np.testing.assert_allclose(list(run[query.id].values()), scores[best], rtol=1e-5)


def test_a_model_that_says_nothing_of_pooling_or_measures_distances_is_refused(folder: Path, tmp_path: Path) -> None:
    import shutil

    other = shutil.copytree(folder, tmp_path / "other")
    config = other / "config_sentence_transformers.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"similarity_fn_name": "euclidean"}))
    with pytest.raises(InputError, match="compares by a distance"):
        dense_run(dense_of(Backbone.load(other)), DOCUMENTS, QUERIES)
    (other / "modules.json").unlink()
    with pytest.raises(InputError, match="no dense baseline"):
        dense_of(Backbone.load(other))


def test_the_baseline_is_the_model_before_its_training(folder: Path, tmp_path: Path) -> None:
    texts = [document.content for document in DOCUMENTS]
    original = load_embedder(folder).embed(texts, "document")
    backbone = Backbone.load(folder, layer=0)
    name = "encoder.layer.0.attention.self.query"
    update = LowRankUpdate({name: (torch.randn(2, 16), torch.randn(16, 2))})
    trained = Backbone.load(folder, layer=0, update=update)
    np.testing.assert_array_equal(dense_of(trained).embed(texts, "document"), original)
    with torch.no_grad():
        backbone.model.get_parameter(f"{name}.weight").mul_(2)
    backbone.save(tmp_path / "model" / "backbone")  # as in a model folder: a cut copy, with nothing of pooling
    copy = Backbone.load(tmp_path / "model" / "backbone")
    copy.base_model = str(folder)
    np.testing.assert_array_equal(dense_of(copy).embed(texts, "document"), original)
