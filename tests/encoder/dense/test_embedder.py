"""Dense embeddings against sentence-transformers on the same folder, and against transformers used directly."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from tests.encoder.tiny_models import ENCODERS, TEXTS, tiny_checkpoint

from saelex.encoder.backbone.packaged import MINILM, locate
from saelex.encoder.dense.backbone_embedder import BackboneEmbedder
from saelex.encoder.dense.embedder import load_embedder
from saelex.encoder.dense.settings import DenseSettings, dense_settings, open_dense
from saelex.errors import InputError

SENTENCES = [*TEXTS, "", "wing " * 100]
E5 = "multilingual-e5-small"


def described(
    checkpoint: Path, folder: Path, pooling: str, *, normalise: bool = False, length: int = 24, **options: object
) -> Path:
    """A folder that sentence-transformers writes around a checkpoint."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

    transformer = Transformer(str(checkpoint), max_seq_length=length)
    modules = [transformer, Pooling(transformer.get_embedding_dimension(), pooling_mode=pooling)]
    model = SentenceTransformer(modules=[*modules, *([Normalize()] if normalise else [])], device="cpu", **options)
    model.save_pretrained(str(folder))
    return folder


@torch.inference_mode()
def mean_of_states(folder: Path, texts: list[str]) -> NDArray[np.float32]:
    """Unit vectors by transformers alone, a text at a time."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    rows = []
    for text in texts:
        hidden = model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=64)).last_hidden_state
        rows.append(hidden[0].mean(0).numpy())
    return np.stack([row / np.linalg.norm(row) for row in rows])


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint("bert", tmp_path_factory.mktemp("dense") / "bert")


@pytest.mark.parametrize("model_type", ENCODERS)
@pytest.mark.parametrize(("pooling", "similarity"), [("mean", "cosine"), ("cls", "dot")])
def test_encoders_embed_as_in_sentence_transformers(
    model_type: str, pooling: str, similarity: str, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    checkpoint = tiny_checkpoint(model_type, tmp_path / "plain")
    prompts = {"query": "wing: ", "document": "a text: "}
    folder = described(
        checkpoint, tmp_path / "model", pooling, normalise=True, prompts=prompts, similarity_fn_name=similarity
    )
    library, ours = SentenceTransformer(str(folder), device="cpu"), load_embedder(folder, batch_size=4, device="cpu")
    assert isinstance(ours, BackboneEmbedder) and ours.similarity == similarity and ours.name == "model"
    wanted = library.encode_query(SENTENCES), library.encode_document(SENTENCES)
    assert np.abs(wanted[0] - wanted[1]).max() > 0.01
    np.testing.assert_allclose(ours.embed(SENTENCES, "query"), wanted[0], atol=1e-6)
    np.testing.assert_allclose(ours.embed(SENTENCES, "document"), wanted[1], atol=1e-6)


@pytest.mark.parametrize("pooling", ["max", "lasttoken"])
def test_what_is_pooled_otherwise_is_left_to_the_library(bert: Path, tmp_path: Path, pooling: str) -> None:
    from sentence_transformers import SentenceTransformer

    folder = described(bert, tmp_path / "model", pooling, prompts={"query": "wing: ", "document": ""})
    ours = load_embedder(folder, device="cpu")
    assert not isinstance(ours, BackboneEmbedder)
    library = SentenceTransformer(str(folder), device="cpu")
    wanted = library.encode_query(SENTENCES, normalize_embeddings=True)
    np.testing.assert_allclose(ours.embed(SENTENCES, "query"), wanted, atol=1e-6)
    assert ours.embed([], "query").shape[0] == 0


def test_a_decoder_keeps_its_own_attention(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = described(tiny_checkpoint("qwen3", tmp_path / "plain"), tmp_path / "model", "mean", normalise=True)
    wanted = SentenceTransformer(str(folder), device="cpu").encode(list(TEXTS))
    np.testing.assert_allclose(load_embedder(folder, device="cpu").embed(TEXTS, "document"), wanted, atol=1e-6)


def test_settings_that_are_not_read_here_send_a_model_to_the_library(bert: Path, tmp_path: Path) -> None:
    folder = described(bert, tmp_path / "model", "mean")
    assert isinstance(load_embedder(folder), BackboneEmbedder)
    path = folder / "sentence_bert_config.json"
    written = json.loads(path.read_text())
    for change in ({"do_lower_case": True}, {"transformer_task": "fill-mask"}, {"model_kwargs": {"dtype": "float16"}}):
        path.write_text(json.dumps(written | change))
        settings = dense_settings(open_dense(folder))
        assert settings is not None and settings.pooling == "other"
    path.write_text(json.dumps(written))
    pooling = folder / "1_Pooling" / "config.json"
    for flags, mode in (
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "other"),
        ({"pooling_mode_max_tokens": True}, "other"),
        ({"pooling_mode": "mean", "include_prompt": False}, "other"),
    ):
        pooling.write_text(json.dumps(flags))
        settings = dense_settings(open_dense(folder))
        assert settings is not None and settings.pooling == mode


def test_e5_has_the_prefixes_of_its_model_card(bert: Path, tmp_path: Path) -> None:
    for place in (tmp_path / E5, tmp_path / f"models--intfloat--{E5}" / "snapshots" / "0a1b"):
        folder = shutil.copytree(bert, place)  # a language model alone, as packages have it
        ours = load_embedder(folder, device="cpu")
        texts = list(TEXTS)
        queries = mean_of_states(folder, [f"query: {text}" for text in texts])
        documents = mean_of_states(folder, [f"passage: {text}" for text in texts])
        np.testing.assert_allclose(ours.embed(texts, "query"), queries, atol=1e-6)
        np.testing.assert_allclose(ours.embed(texts, "document"), documents, atol=1e-6)
    hub = described(bert, tmp_path / "hub" / E5, "mean", normalise=True)  # without prompts, as on the hub
    np.testing.assert_allclose(
        load_embedder(hub, device="cpu").embed(["lift"], "query"), mean_of_states(bert, ["query: lift"]), atol=1e-6
    )
    own = described(bert, tmp_path / "own" / E5, "mean", prompts={"query": "q: ", "document": ""})
    settings = dense_settings(open_dense(own))
    assert settings is not None and (settings.query_prompt, settings.document_prompt) == ("q: ", "")


@pytest.mark.parametrize(
    ("model", "prompts"),
    [
        ("intfloat/multilingual-e5-small", ("query: ", "passage: ")),
        ("intfloat/e5-large-v2", ("query: ", "passage: ")),
        ("intfloat/e5-base-unsupervised", ("query: ", "passage: ")),
        ("BAAI/bge-small-en-v1.5", ("Represent this sentence for searching relevant passages: ", "")),
        ("intfloat/e5-mistral-7b-instruct", None),
        ("somebody/multilingual-e5-small-finetuned", None),
    ],
)
def test_families_are_known_by_their_whole_name(
    model: str, prompts: tuple[str, str] | None, tmp_path: Path, bert: Path
) -> None:
    folder = shutil.copytree(bert, tmp_path / model.rpartition("/")[2])
    settings = dense_settings(open_dense(folder))
    assert (settings and (settings.query_prompt, settings.document_prompt)) == prompts


def test_a_model_that_says_nothing_is_refused_unless_it_is_told(bert: Path) -> None:
    with pytest.raises(InputError, match="not described as a dense model"):
        load_embedder(bert)
    ours = load_embedder(bert, undescribed=DenseSettings(), device="cpu")
    np.testing.assert_allclose(ours.embed(TEXTS, "query"), mean_of_states(bert, list(TEXTS)), atol=1e-6)


def test_the_digest_tells_weights_tokenizer_and_settings_apart(bert: Path, tmp_path: Path) -> None:
    first = described(bert, tmp_path / "first", "mean")
    digests = {load_embedder(first).digest, load_embedder(shutil.copytree(first, tmp_path / "copy")).digest}
    assert len(digests) == 1
    prompted = described(bert, tmp_path / "prompted", "mean", prompts={"query": "wing: "})
    short = described(bert, tmp_path / "short", "mean", length=8)
    cls = described(bert, tmp_path / "cls", "cls")
    cased = shutil.copytree(first, tmp_path / "cased")
    tokenizer = json.loads((cased / "tokenizer.json").read_text())
    tokenizer["normalizer"] = None
    (cased / "tokenizer.json").write_text(json.dumps(tokenizer))
    (cased / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}')
    weights = described(tiny_checkpoint("bert", tmp_path / "b", num_hidden_layers=1), tmp_path / "weights", "mean")
    library = described(bert, tmp_path / "library", "max")
    folders = (prompted, short, cls, cased, weights, library)
    assert len(digests | {load_embedder(folder).digest for folder in folders}) == 1 + len(folders)
    (library / "config.json").write_text((library / "config.json").read_text() + " ")
    assert load_embedder(library).digest not in digests


def test_minilm_is_read_without_sentence_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    from sentence_transformers import SentenceTransformer

    wanted = SentenceTransformer(str(locate(MINILM)), device="cpu").encode(SENTENCES)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    np.testing.assert_allclose(
        load_embedder(MINILM.model_id, device="cpu").embed(SENTENCES, "query"), wanted, atol=1e-5
    )


def test_without_the_library_its_models_say_what_to_install(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = described(bert, tmp_path / "model", "max")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(InputError, match="install it with"):
        load_embedder(folder)
