"""The vocabulary head against the language models' own logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.encoder.tiny_models import DECODERS, ENCODERS, LONG_TEXT, TINY_MODELS, tiny_checkpoint
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from saelex.encoder.backbone.architectures import ARCHITECTURES
from saelex.encoder.backbone.vocabulary import MaskedLMTransform, Vocabulary, load_vocabulary
from saelex.errors import InputError


def logits_of(vocabulary: Vocabulary, ids: Tensor) -> Tensor:
    logits = vocabulary.transform(vocabulary.backbone(ids)) @ vocabulary.weight.T + vocabulary.bias
    return logits if vocabulary.softcap is None else vocabulary.softcap * torch.tanh(logits / vocabulary.softcap)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("model_type", TINY_MODELS)
def test_logits_are_the_language_models(model_type: str, tied: bool, tmp_path: Path) -> None:
    auto = AutoModelForCausalLM if model_type in DECODERS else AutoModelForMaskedLM
    folder = tiny_checkpoint(model_type, tmp_path, language_model=True, tie_word_embeddings=tied)
    vocabulary = load_vocabulary(folder, bidirectional=False if model_type in DECODERS else None)
    ids = vocabulary.backbone.tokenizer(LONG_TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = auto.from_pretrained(folder, attn_implementation="eager")(ids).logits
        torch.testing.assert_close(logits_of(vocabulary, ids), expected, rtol=1e-5, atol=1e-5)
    assert vocabulary.bias.dtype == torch.float32 and bool(vocabulary.bias.any()) == (model_type in ENCODERS)
    assert (vocabulary.softcap is not None) == (model_type == "gemma2")
    embedding = {id(parameter) for parameter in vocabulary.backbone.parameters()}
    assert (id(vocabulary.weight) in embedding) == tied  # tied weights are one parameter, not a copy


HEADS = {
    "bert": "cls.predictions.decoder.weight",
    "distilbert": "vocab_projector.weight",
    "xlm-roberta": "lm_head.decoder.weight",
    "modernbert": "decoder.weight",
}


def set_config(folder: Path, **values: Any) -> None:
    """Set keys of config.json, or drop them with `...`."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | values
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not ...}))


def assert_logits(folder: Path, model_type: str) -> Vocabulary:
    auto = AutoModelForCausalLM if model_type in DECODERS else AutoModelForMaskedLM
    vocabulary = load_vocabulary(folder, bidirectional=False if model_type in DECODERS else None)
    ids = vocabulary.backbone.tokenizer(LONG_TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = auto.from_pretrained(folder, attn_implementation="eager")(ids).logits
        torch.testing.assert_close(logits_of(vocabulary, ids), expected, rtol=1e-5, atol=1e-5)
    return vocabulary


@pytest.mark.parametrize("flag", [True, ...], ids=["tied", "no flag"])
@pytest.mark.parametrize("model_type", TINY_MODELS)
def test_a_matrix_of_its_own_counts_whatever_the_flag_says(model_type: str, flag: Any, tmp_path: Path) -> None:
    """transformers 5 ties only where the file holds no other matrix, or the same."""
    folder = tiny_checkpoint(model_type, tmp_path, language_model=True, tie_word_embeddings=False)
    set_config(folder, tie_word_embeddings=flag)
    vocabulary = assert_logits(folder, model_type)
    embedding = vocabulary.backbone.model.get_parameter(ARCHITECTURES[model_type].embedding)
    assert vocabulary.weight is not embedding and not torch.equal(vocabulary.weight, embedding)

    weights = load_file(folder / "model.safetensors")
    head = HEADS.get(model_type, "lm_head.weight")
    save_file(weights | {head: embedding.detach().clone()}, folder / "model.safetensors", metadata={"format": "pt"})
    set_config(folder, tie_word_embeddings=True)
    vocabulary = assert_logits(folder, model_type)
    assert vocabulary.weight is vocabulary.backbone.model.get_parameter(ARCHITECTURES[model_type].embedding)


@pytest.mark.parametrize("stored", ["first", "second", "both"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("model_type", ["bert", "xlm-roberta"])
def test_which_of_two_biases_counts(model_type: str, tied: bool, stored: str, tmp_path: Path) -> None:
    folder = tiny_checkpoint(model_type, tmp_path, language_model=True, tie_word_embeddings=tied)
    first, second = {
        "bert": ("cls.predictions.bias", "cls.predictions.decoder.bias"),
        "xlm-roberta": ("lm_head.bias", "lm_head.decoder.bias"),
    }[model_type]
    weights = load_file(folder / "model.safetensors")
    biases = {first: weights[first].clone(), second: weights[first].flip(0)}
    for name, dropped in ((first, stored == "second"), (second, stored == "first")):
        weights.pop(name, None)
        if not dropped:
            weights[name] = biases[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    if stored == "first" and not tied:
        with pytest.raises(InputError, match="which versions of transformers read differently"):
            load_vocabulary(folder)
    else:
        vocabulary = assert_logits(folder, model_type)
        assert torch.equal(vocabulary.bias, biases[first if stored == "first" else second])


@pytest.mark.parametrize("model_type", ["llama", "qwen3", "gemma2", "gemma3_text", "bert"])
def test_only_gemma_caps_its_logits(model_type: str, tmp_path: Path) -> None:
    folder = tiny_checkpoint(model_type, tmp_path, language_model=True, tie_word_embeddings=True)
    set_config(folder, final_logit_softcapping=1.5)
    assert (assert_logits(folder, model_type).softcap == 1.5) == model_type.startswith("gemma")


def test_biases_that_config_json_leaves_out_are_not_read(tmp_path: Path) -> None:
    folder = tiny_checkpoint("modernbert", tmp_path, language_model=True, classifier_bias=True)
    assert bool(assert_logits(folder, "modernbert").bias.any())
    set_config(folder, classifier_bias=False, decoder_bias=False)
    vocabulary = assert_logits(folder, "modernbert")
    assert vocabulary.transform.dense.bias is None and not bool(vocabulary.bias.any())


def test_modernbert_without_biases(tmp_path: Path) -> None:
    settings = {"decoder_bias": False, "classifier_activation": "silu"}
    folder = tiny_checkpoint("modernbert", tmp_path, language_model=True, **settings)
    vocabulary = load_vocabulary(folder)
    assert isinstance(vocabulary.transform, MaskedLMTransform) and vocabulary.transform.dense.bias is None
    ids = vocabulary.backbone.tokenizer(LONG_TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = AutoModelForMaskedLM.from_pretrained(folder)(ids).logits
        torch.testing.assert_close(logits_of(vocabulary, ids), expected, rtol=1e-5, atol=1e-5)


def test_bidirectional_decoder_has_other_logits(tmp_path: Path) -> None:
    folder = tiny_checkpoint("llama", tmp_path, language_model=True)
    vocabulary = load_vocabulary(folder)
    assert vocabulary.backbone.bidirectional
    ids = vocabulary.backbone.tokenizer(LONG_TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        causal = AutoModelForCausalLM.from_pretrained(folder)(ids).logits
        assert (logits_of(vocabulary, ids) - causal).abs().max() > 0.1


def test_checkpoint_without_a_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no masked-LM head \(cls\.predictions\.transform\.dense\)"):
        load_vocabulary(tiny_checkpoint("bert", tmp_path / "bert"))
    with pytest.raises(InputError, match=r"no language model head \(lm_head\.weight\)"):
        load_vocabulary(tiny_checkpoint("llama", tmp_path / "llama"))
