"""Models as teachers, against transformers and numpy used directly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from tests.encoder.tiny_encoders import tiny_encoder
from tests.encoder.tiny_models import TEXTS, tiny_checkpoint

from saelex.encoder.backbone.packaged import MINILM
from saelex.encoder.encoder import Encoder
from saelex.encoder.settings import Side
from saelex.errors import InputError
from saelex.training.mining.embeddings import DenseModel
from saelex.training.mining.teachers import Pairs, kind_of, model_teacher

sentence_transformers = pytest.importorskip("sentence_transformers")

PAIRS = Pairs(
    ["a", "b"],
    [str(i) for i in range(5)],
    [TEXTS[0], TEXTS[3]],
    list(TEXTS[1:6]),
    np.array([0, 0, 0, 1, 1, 1]),
    np.array([4, 0, 2, 1, 3, 4]),
)


def scores(model: Path, folder: Path) -> NDArray[np.float32]:
    done: list[int] = []
    with model_teacher(str(model), "teacher", batch_size=2).open(PAIRS, folder) as score:
        found = np.concatenate([score(0, 2, done.append), score(2, 6, done.append)])
    assert sum(done) == len(PAIRS)
    return found


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint("bert", tmp_path_factory.mktemp("teachers") / "bert")


def dense_folder(bert: Path, folder: Path, similarity: str) -> Path:
    modules = sentence_transformers.sentence_transformer.modules
    transformer = modules.Transformer(str(bert))
    pooling = modules.Pooling(transformer.get_embedding_dimension(), pooling_mode="mean")
    prompts = {"query": "wing: ", "document": ""}
    model = sentence_transformers.SentenceTransformer(
        modules=[transformer, pooling], prompts=prompts, similarity_fn_name=similarity
    )
    model.save_pretrained(str(folder))
    return folder


@torch.inference_mode()
def mean_state(bert: Path, text: str) -> NDArray[np.float32]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert)
    model = transformers.AutoModel.from_pretrained(bert).eval()
    hidden = model(**tokenizer(text, return_tensors="pt", truncation=True)).last_hidden_state
    state: NDArray[np.float32] = hidden[0].mean(0).numpy()
    return state


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_a_dense_teacher_is_its_own_similarity_of_vectors_encoded_once(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, similarity: str
) -> None:
    model = dense_folder(bert, tmp_path / "dense", similarity)
    monkeypatch.setattr("saelex.training.mining.embeddings.CHUNK", 2)
    encoded: list[str] = []
    encode = DenseModel.encode

    def noting(self: DenseModel, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        encoded.extend(texts)
        return encode(self, texts, side)

    monkeypatch.setattr(DenseModel, "encode", noting)
    found = scores(model, tmp_path / "work")
    queries = np.stack([mean_state(bert, f"wing: {text}") for text in PAIRS.query_texts])
    documents = np.stack([mean_state(bert, text) for text in PAIRS.document_texts])
    if similarity == "cosine":
        queries, documents = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, documents))
    np.testing.assert_allclose(found, (queries[PAIRS.query] * documents[PAIRS.document]).sum(1), rtol=1e-4, atol=1e-5)
    assert encoded == [*PAIRS.query_texts, *PAIRS.document_texts]

    (tmp_path / "work" / "document00001.npy").unlink()  # as if stopped before it was written
    encoded.clear()
    np.testing.assert_array_equal(scores(model, tmp_path / "work"), found)
    assert encoded == PAIRS.document_texts[2:4]


def cross_folder(bert: Path, folder: Path, labels: int = 1) -> Path:
    torch.manual_seed(5)
    config = transformers.AutoConfig.from_pretrained(bert, num_labels=labels)
    model = transformers.BertForSequenceClassification(config)
    torch.nn.init.normal_(model.classifier.weight, std=2.0)  # logits that differ
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(bert).save_pretrained(folder)
    return folder


def test_a_cross_encoder_gives_its_logits(bert: Path, tmp_path: Path) -> None:
    model = cross_folder(bert, tmp_path / "cross")
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    plain = transformers.BertForSequenceClassification.from_pretrained(model).eval()
    expected = []
    for query, document in zip(PAIRS.query, PAIRS.document):
        read = tokenizer(PAIRS.query_texts[query], PAIRS.document_texts[document], return_tensors="pt", truncation=True)
        with torch.inference_mode():
            expected.append(float(plain(**read).logits))
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(scores(model, tmp_path / "work"), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="gives 3 numbers for a pair"):
        scores(cross_folder(bert, tmp_path / "three", labels=3), tmp_path / "work")


def test_a_saelex_encoder_gives_dot_products(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_encoder(tmp_path / "bert").save_pretrained(tmp_path / "model")
    monkeypatch.setattr("saelex.training.mining.embeddings.CHUNK", 2)
    encoder = Encoder.load(tmp_path / "model")
    queries = encoder.encode_query(PAIRS.query_texts).to_dense()
    documents = encoder.encode_document(PAIRS.document_texts).to_dense()
    expected = (queries[PAIRS.query] * documents[PAIRS.document]).sum(1)
    assert expected.max() > 0
    np.testing.assert_allclose(scores(tmp_path / "model", tmp_path / "work"), expected, rtol=1e-5)


def test_what_a_model_is_shows_in_its_files(bert: Path, tmp_path: Path) -> None:
    cross = cross_folder(bert, tmp_path / "cross")
    assert kind_of(str(cross)) == "cross"
    sentence_transformers.CrossEncoder(str(cross)).save_pretrained(str(tmp_path / "saved"))
    assert kind_of(str(tmp_path / "saved")) == "cross"
    dense = dense_folder(bert, tmp_path / "dense", "cosine")
    assert kind_of(str(dense)) == "dense"
    (dense / "config_sentence_transformers.json").write_text(json.dumps({"__version__": {}}))  # as version 2 wrote it
    assert kind_of(str(dense)) == "dense"
    with pytest.raises(InputError, match="add --cross or --dense"):
        kind_of(str(bert))
    with pytest.raises(InputError, match="no model folder"):
        kind_of(str(tmp_path / "none"))


def test_a_folder_is_told_by_its_weights_and_minilm_is_found_offline(bert: Path, tmp_path: Path) -> None:
    first, second = (cross_folder(bert, tmp_path / name) for name in ("a", "b"))
    assert model_teacher(str(first), "t").facts == model_teacher(str(second), "t").facts
    three = cross_folder(bert, tmp_path / "c", labels=3)
    assert model_teacher(str(first), "t").facts != model_teacher(str(three), "t").facts
    facts = model_teacher(MINILM.model_id, MINILM.model_id).facts
    assert facts["kind"] == "dense" and len(facts["weights_sha256"]) == 64
