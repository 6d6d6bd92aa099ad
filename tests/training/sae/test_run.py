import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.encoder.tiny_models import TEXTS, tiny_checkpoint
from tests.training.sae.toys import corpus, expected_states
from transformers import AutoModelForMaskedLM, AutoTokenizer

from saelex.errors import InputError, MismatchError
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.training.settings import SaeTraining
from saelex.training.sae.recipe import SaeRecipe
from saelex.training.sae.run import train_sae_on_text
from saelex.training.text_settings import TextData, TokenStates


@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
def test_recipe_trains_an_sae_that_belongs_to_its_backbone(bert, tmp_path, monkeypatch, cache):
    monkeypatch.setenv("SAELEX_CACHE", str(tmp_path / "cache"))
    recipe = SaeRecipe(
        model=str(bert),
        layer=1,
        data=TextData([corpus(tmp_path / "texts.jsonl", TEXTS)]),
        states=TokenStates(cache=cache),
        training=SaeTraining(
            n_latents=64, k=4, tokens=32 * 60, batch_tokens=32, learning_rate=5e-3, warmup_steps=5, log_steps=20
        ),
    )
    train_sae_on_text(recipe, tmp_path / "sae")
    sae = SparseAutoencoder.load(tmp_path / "sae")
    sae.check_belongs(str(bert), 1, 32)
    records = [json.loads(line) for line in (tmp_path / "sae" / "metrics.jsonl").open()]
    assert records[-1]["fvu"] < 0.6 * records[0]["fvu"]
    assert sae.config.metadata["data"] == ["texts.jsonl"]
    assert sae.config.metadata["states"]["cache"] == cache


@pytest.mark.parametrize("model_type", ["bert", "distilbert"])
def test_an_sae_of_the_masked_lm_transform(model_type, tmp_path, monkeypatch):
    monkeypatch.setenv("SAELEX_CACHE", str(tmp_path / "cache"))
    folder = tiny_checkpoint(model_type, tmp_path / "masked-lm", language_model=True)
    recipe = SaeRecipe(
        model=str(folder),
        transform=True,
        data=TextData([corpus(tmp_path / "texts.jsonl", TEXTS)]),
        states=TokenStates(cache="disk"),
        training=SaeTraining(
            n_latents=64, k=4, tokens=32 * 60, batch_tokens=32, learning_rate=5e-3, warmup_steps=5, log_steps=20
        ),
    )
    train_sae_on_text(recipe, tmp_path / "sae")
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    parts = []
    with torch.no_grad():
        for text in TEXTS:
            hidden = model.base_model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, 1:-1]
            if model_type == "bert":
                parts.append(model.cls.predictions.transform(hidden))
            else:
                parts.append(model.vocab_layer_norm(model.activation(model.vocab_transform(hidden))))
    (cached,) = (tmp_path / "cache" / "sae-states").iterdir()
    states = torch.from_numpy(np.fromfile(cached, np.float16).reshape(-1, 32)).float()
    expected = torch.cat(parts)
    nearest = torch.cdist(states, expected).argmin(dim=1)  # float16 would be sorted in another order
    assert sorted(nearest.tolist()) == list(range(len(expected)))
    torch.testing.assert_close(states, expected[nearest], rtol=1e-3, atol=1e-3)
    records = [json.loads(line) for line in (tmp_path / "sae" / "metrics.jsonl").open()]
    assert records[-1]["fvu"] < 0.6 * records[0]["fvu"]
    sae = SparseAutoencoder.load(tmp_path / "sae")
    sae.check_belongs(str(folder), 3, 32, transform=True)
    with pytest.raises(MismatchError):
        sae.check_belongs(str(folder), 3, 32)
    train_sae_on_text(replace(recipe, transform=False), None)
    assert len(list((tmp_path / "cache" / "sae-states").iterdir())) == 2  # other states than the block's own


def test_sinks_are_found_by_their_norm_and_recorded(bert, tmp_path):
    texts = tmp_path / "texts.jsonl"
    recipe = SaeRecipe(
        model=str(bert),
        layer=1,
        data=TextData([corpus(texts, TEXTS)]),
        sink_factor=1.02,
        training=SaeTraining(n_latents=64, k=4, tokens=64, batch_tokens=32),
    )
    sae = train_sae_on_text(recipe, None)
    norms = expected_states(bert, TEXTS, 1).norm(dim=1)
    found = sae.config.metadata["states"]["sink_norm"]
    assert found == pytest.approx(1.02 * float(norms.median()), rel=5e-3)
    with pytest.raises(InputError, match="set one of them"):
        train_sae_on_text(replace(recipe, states=TokenStates(sink_norm=3.0)), None)


def test_recipe_without_model_or_data_is_refused():
    with pytest.raises(InputError, match=r"data\.corpora"):
        train_sae_on_text(SaeRecipe(model="x"), None)
