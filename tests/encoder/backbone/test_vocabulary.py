"""The vocabulary head against the language models' own logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.encoder.tiny_models import DECODERS, ENCODERS, LONG_TEXT, TINY_MODELS, tiny_checkpoint
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

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
