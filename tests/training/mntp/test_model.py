"""The loss against plain transformers, which sees all positions and builds all logits."""

import numpy as np
import pytest
import torch
from tests.encoder.tiny_models import DECODERS, ENCODERS, TEXTS, TINY_MODELS, tiny_checkpoint
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from saelex.encoder.settings import EncoderSettings
from saelex.encoder.tokens import TextTokenizer
from saelex.errors import InputError
from saelex.training.lora import LoraRecipe
from saelex.training.mntp.model import adapt, load_masked_model
from saelex.training.mntp.recipe import MaskRecipe, MntpRecipe, MntpTraining
from saelex.training.mntp.run import masking_of

WIDE = {"sliding_window": 64}  # no text fills it: bidirectional attention is then attention to everything


def masked_batch(loaded, recipe, texts):
    tokenizer = TextTokenizer(loaded.tokenizer.backend_tokenizer, EncoderSettings(), 64)
    tokenized = tokenizer.tokenize(texts, "document")
    return masking_of(recipe, loaded)(tokenized, np.random.default_rng(0))


def recipe_for(folder, **changes):
    training = MntpTraining(dropout=0.0, device="cpu")
    return MntpRecipe(**({"model": str(folder), "tune": "full", "training": training} | changes))


@pytest.mark.parametrize("kind", ENCODERS)
def test_masked_language_modelling_is_transformers(kind, tmp_path):
    folder = tiny_checkpoint(kind, tmp_path / kind, language_model=True)
    recipe = recipe_for(folder)
    loaded = load_masked_model(recipe)
    assert not loaded.model.new_head
    batch = masked_batch(loaded, recipe, list(TEXTS))
    reference = AutoModelForMaskedLM.from_pretrained(folder).eval()
    labels = torch.full_like(batch["input_ids"], -100)
    labels[batch["rows"], batch["columns"]] = batch["labels"]
    expected = reference(batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
    loaded.model.train()  # dropout is off by the recipe
    assert len(batch["labels"]) > 5
    torch.testing.assert_close(loaded.model(**batch) / len(batch["labels"]), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", DECODERS)
def test_masked_next_token_prediction_is_transformers(kind, tmp_path):
    changes = WIDE if kind not in ("llama", "qwen3") else {}
    folder = tiny_checkpoint(kind, tmp_path / kind, language_model=True, **changes)
    token = "▁" if TINY_MODELS[kind].tokenizer == "metaspace_bpe" else None  # these have no "_"
    recipe = recipe_for(folder, mask=MaskRecipe(token=token))
    loaded = load_masked_model(recipe)
    batch = masked_batch(loaded, recipe, [TEXTS[1]])
    reference = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    length = batch["input_ids"].shape[1]
    everything = torch.zeros(1, 1, length, length)  # a ready-made mask: every token sees every token
    kinds = set(getattr(reference.config, "layer_types", None) or [])
    mask = dict.fromkeys(kinds, everything) if len(kinds) > 1 else everything
    logits = reference(batch["input_ids"], attention_mask=mask).logits[0]
    positions = [(int(column) + 1, int(label)) for column, label in zip(batch["columns"], batch["labels"])]
    by_hand = [cross_entropy(logits[position - 1], torch.tensor(label)) for position, label in positions]
    assert len(by_hand) >= 2
    actual = loaded.model.eval()(**batch)
    torch.testing.assert_close(actual, torch.stack(by_hand).sum(), rtol=1e-5, atol=1e-5)
    causal = reference(batch["input_ids"]).logits[0]
    assert (causal - logits).abs().max() > 1e-3  # the mask matters


def test_a_new_head_is_drawn_by_the_seed_and_tied(tmp_path):
    folder = tiny_checkpoint("bert", tmp_path / "bert", language_model=False)
    first, again, other = (
        load_masked_model(recipe_for(folder, training=MntpTraining(seed=seed))).model for seed in (0, 0, 1)
    )
    assert first.new_head
    transform = [model.model.cls.predictions.transform.dense.weight for model in (first, again, other)]
    assert torch.equal(transform[0], transform[1])
    assert not torch.equal(transform[0], transform[2])
    decoder = first.model.cls.predictions.decoder.weight
    assert decoder is first.model.get_input_embeddings().weight
    head = {id(parameter) for parameter in first.head_parameters()}
    assert id(transform[0]) in head
    assert id(decoder) not in head


def test_adapters_learn_alone_except_for_a_new_head(tmp_path):
    llama = recipe_for(tiny_checkpoint("llama", tmp_path / "llama", language_model=True))
    known, again, other = (load_masked_model(llama).model for _ in range(3))
    for model, seed in ((known, 0), (again, 0), (other, 1)):
        adapt(model, LoraRecipe(rank=2), seed)
    drawn = [model.model.model.layers[0].mlp.up_proj.lora_A.default.weight for model in (known, again, other)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    learning = [name for name, parameter in known.named_parameters() if parameter.requires_grad]
    assert len(learning) == 4 * 7 * 2  # blocks, linear layers, A and B
    assert all("lora_" in name and "layers" in name for name in learning)
    new = load_masked_model(recipe_for(tiny_checkpoint("bert", tmp_path / "bert", language_model=False))).model
    adapt(new, LoraRecipe(rank=2, targets=["query"]), 0)
    learning = [name for name, parameter in new.named_parameters() if parameter.requires_grad]
    assert sum("lora_" in name for name in learning) == 4 * 2
    assert [name for name in learning if "lora_" not in name] == [
        f"model.cls.predictions.{name}"
        for name in ("bias", "transform.dense.weight", "transform.dense.bias", "transform.LayerNorm.weight",
                     "transform.LayerNorm.bias")
    ]  # fmt: skip


def test_models_and_settings_that_do_not_work(tmp_path):
    bare = tiny_checkpoint("llama", tmp_path / "bare", tie_word_embeddings=False)
    with pytest.raises(InputError, match="has no language model head"):
        load_masked_model(recipe_for(bare))
    whole = tiny_checkpoint("llama", tmp_path / "whole", language_model=True)
    with pytest.raises(InputError, match=r"lora\.targets names no linear layer.*q_proj"):
        adapt(load_masked_model(recipe_for(whole)).model, LoraRecipe(targets=["nowhere"]), 0)
    with pytest.raises(InputError, match="unknown dtype 'float7'"):
        load_masked_model(recipe_for(whole, dtype="float7"))
    gemma = tiny_checkpoint("gemma2", tmp_path / "gemma2", language_model=True)
    recipe = recipe_for(gemma)
    with pytest.raises(InputError, match=r"has no token '_' to mask with.*mask\.token"):
        masking_of(recipe, load_masked_model(recipe))
