"""Published layouts, built small: the vectors are those of sentence-transformers' SparseEncoder on the same folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling
from tests.encoder.tiny_models import LONG_TEXT, TEXTS, tiny_checkpoint
from transformers import AutoModelForMaskedLM, AutoTokenizer

from saelex.encoder.encoder import Encoder
from saelex.errors import InputError, MismatchError
from saelex.vectors import SparseRows

MIXED = [*TEXTS, LONG_TEXT, LONG_TEXT * 3]


def assert_same(theirs: torch.Tensor, ours: SparseRows) -> None:
    np.testing.assert_allclose(theirs.to_dense().numpy(), ours.to_dense(), rtol=1e-4, atol=1e-5)


def assert_same_as_sparse_encoder(folder: Path) -> Encoder:
    model, encoder = SparseEncoder(str(folder), device="cpu"), Encoder.load(folder, device="cpu")
    assert_same(model.encode_query(MIXED), encoder.encode_query(MIXED))
    assert_same(model.encode_document(MIXED), encoder.encode_document(MIXED))
    return encoder


def save_sparse_encoder(folder: Path, checkpoint: Path, pooling: SpladePooling, **options: object) -> Path:
    model = SparseEncoder(modules=[Transformer(str(checkpoint), transformer_task="fill-mask"), pooling], **options)
    model.save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("model_type", ["bert", "distilbert", "xlm-roberta"])
def test_a_plain_masked_language_model_is_splade(model_type: str, tmp_path: Path) -> None:
    folder = tiny_checkpoint(model_type, tmp_path, language_model=True)
    encoder = assert_same_as_sparse_encoder(folder)
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        logits = model(**tokenizer(TEXTS[1], return_tensors="pt")).logits[0]  # [tokens, vocabulary]
    expected = torch.log1p(torch.relu(logits).amax(0)).numpy()
    row = encoder.encode_document(TEXTS[1])
    np.testing.assert_allclose(row.to_dense()[0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(row.positions, logits.argmax(0).numpy()[row.latents])
    heaviest = encoder.decode(row, top=1)[0][0][0]
    assert heaviest == tokenizer.convert_ids_to_tokens(int(expected.argmax()))


@pytest.mark.parametrize(("strategy", "activation"), [("max", "relu"), ("sum", "relu"), ("max", "log1p_relu")])
def test_sparse_encoder_layout(strategy: str, activation: str, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint("bert", tmp_path / "bert", language_model=True)
    prompts = {"query": "wing: ", "document": "a bank "}
    pooling = SpladePooling(strategy, activation)
    folder = save_sparse_encoder(tmp_path / "model", checkpoint, pooling, prompts=prompts, max_active_dims=11)
    encoder = assert_same_as_sparse_encoder(folder)
    assert (encoder.settings.query_top_k, encoder.settings.document_top_k) == (11, 11)
    assert encoder.settings.query_prompt == "wing: "


def test_the_older_module_names_load_too(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint("bert", tmp_path / "bert", language_model=True)
    folder = save_sparse_encoder(tmp_path / "model", checkpoint, SpladePooling())
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "sentence_transformers.sparse_encoder.models.MLMTransformer"
    modules[1]["type"] = "sentence_transformers.sparse_encoder.models.SpladePooling"
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 9, "do_lower_case": false}')
    (folder / modules[1]["path"] / "config.json").write_text(
        '{"pooling_strategy": "max", "activation_function": "relu", "word_embedding_dimension": null}'
    )
    encoder = assert_same_as_sparse_encoder(folder)
    assert encoder.settings.max_document_length == 9


@pytest.fixture
def doc_only(tmp_path: Path) -> Path:
    checkpoint = tiny_checkpoint("bert", tmp_path / "bert", language_model=True)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    weight = torch.rand(len(tokenizer), generator=torch.Generator().manual_seed(3))
    weight[::5] = 0
    query = [SparseStaticEmbedding(tokenizer, weight, frozen=True)]
    document = [
        Transformer(str(checkpoint), transformer_task="fill-mask"),
        SpladePooling(activation_function="log1p_relu"),
    ]
    router = Router.for_query_document(query_modules=query, document_modules=document)
    SparseEncoder(modules=[router]).save_pretrained(str(tmp_path / "model"))
    return tmp_path / "model"


def test_doc_only_layout_has_inference_free_queries(doc_only: Path, tmp_path: Path) -> None:
    encoder = assert_same_as_sparse_encoder(doc_only)
    rows = encoder.encode_query(["wing lift wing"])
    assert rows.positions is not None
    first = encoder.tokenizer.tokenize(["wing lift wing"], "query")[0].ids
    for latent, position in zip(rows.latents, rows.positions):
        assert first.tolist().index(latent) == position
    encoder.save_pretrained(tmp_path / "ours")
    again = Encoder.load(tmp_path / "ours", device="cpu")
    assert again.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(again.encode_query(MIXED).weights, encoder.encode_query(MIXED).weights)
    model = SparseEncoder(str(tmp_path / "ours"), trust_remote_code=True, device="cpu")
    assert_same(model.encode_query([*MIXED, ""]), encoder.encode_query([*MIXED, ""]))
    assert_same(model.encode_document(MIXED), encoder.encode_document(MIXED))


def test_plain_layout_with_idf_json(tmp_path: Path) -> None:
    folder = tiny_checkpoint("bert", tmp_path, language_model=True)
    (folder / "idf.json").write_text(json.dumps({"lift": 2.5, "[CLS]": 9.0, "a": 0.5}))
    encoder = Encoder.load(folder, device="cpu")
    rows = encoder.encode_query(["lift a lift", "[CLS]"])
    vocabulary = encoder.tokenizer.tokenizer.get_vocab()
    assert rows.to_dicts() == [{vocabulary["lift"]: 2.5, vocabulary["a"]: 0.5}, {}]
    encoder.settings = replace(encoder.settings, query_prompt="a ", pool_prompt=False)
    assert encoder.encode_query("lift").to_dicts() == [{vocabulary["lift"]: 2.5}]


def test_query_weights_of_another_vocabulary_are_refused(doc_only: Path) -> None:
    tokenizer = next(doc_only.glob("query_0_*")) / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"lift"', '"lifts"'))
    with pytest.raises(MismatchError, match="tokenised differently"):
        Encoder.load(doc_only)


def test_other_modules_are_refused(tmp_path: Path) -> None:
    folder = tiny_checkpoint("bert", tmp_path)
    modules = [{"type": f"sentence_transformers.models.{name}", "path": ""} for name in ("Transformer", "Pooling")]
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match=r"Transformer \+ Pooling; supported are"):
        Encoder.load(folder)


def test_a_bare_language_model_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="from_sae"):
        Encoder.load(tiny_checkpoint("llama", tmp_path, language_model=True))
