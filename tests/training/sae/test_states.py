import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.encoder.tiny_models import TEXTS, tiny_checkpoint
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from saelex.encoder.backbone.backbone import Backbone
from saelex.errors import InputError, MismatchError
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.training.settings import SaeTraining
from saelex.training.sae.recipe import SaeRecipe
from saelex.training.sae.states import (
    BackboneStates,
    cache_in_memory,
    cache_on_disk,
    read_texts,
    train_sae_on_text,
)
from saelex.training.text_settings import TextData, TokenStates


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_checkpoint("bert", tmp_path_factory.mktemp("models") / "tiny-bert")


def corpus(path, texts):
    lines = [json.dumps({"_id": str(i), "title": "", "text": text}) + "\n" for i, text in enumerate(texts)]
    path.write_text("".join(lines))
    return str(path)


def expected_states(folder, texts, layer, prompt="", max_length=64):
    """Hugging Face's own hidden states, one text at a time, without special and prompt tokens."""
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    skipped = len(tokenizer(prompt, add_special_tokens=False).input_ids) if prompt else 0
    parts = []
    for text in texts:
        batch = tokenizer(prompt + text, return_tensors="pt", truncation=True, max_length=max_length)
        with torch.no_grad():
            hidden = model(**batch, output_hidden_states=True).hidden_states[layer + 1][0]
        parts.append(hidden[1 + skipped : -1])
    return torch.cat(parts)


def by_first(states):
    return states[states[:, 0].argsort()]


@pytest.mark.parametrize("budget", [16, 4096])
def test_states_are_the_blocks_output_without_special_tokens(bert, budget):
    source = BackboneStates(Backbone.load(bert, layer=2), lambda: ["", *TEXTS, "  "], TokenStates(token_budget=budget))
    states = torch.cat(list(source.chunks(0, 0)))
    expected = expected_states(bert, TEXTS, 2)
    assert states.shape == expected.shape
    torch.testing.assert_close(by_first(states), by_first(expected), rtol=1e-4, atol=1e-5)


def test_prompt_length_and_sinks(bert):
    backbone = Backbone.load(bert, layer=1)
    settings = TokenStates(prompt="lift: ", max_length=9)
    states = torch.cat(list(BackboneStates(backbone, lambda: TEXTS, settings).chunks(0, 0)))
    expected = expected_states(bert, TEXTS, 1, "lift: ", 9)
    torch.testing.assert_close(by_first(states), by_first(expected), rtol=1e-4, atol=1e-5)
    norms = expected.norm(dim=1).sort().values
    gap = int(norms.diff().argmax())  # between two norms, so that rounding decides nothing
    limit = float((norms[gap] + norms[gap + 1]) / 2)
    settings = TokenStates(prompt="lift: ", max_length=9, sink_norm=limit)
    quiet = torch.cat(list(BackboneStates(backbone, lambda: TEXTS, settings).chunks(0, 0)))
    assert len(quiet) == gap + 1 < len(expected)


def test_chunks_begin_where_asked(bert):
    texts = [f"lift {word} of {number}" for number in range(300) for word in ("wing", "bank")]
    source = BackboneStates(Backbone.load(bert, layer=0), lambda: iter(texts), TokenStates())
    whole = list(source.chunks(0, 0))
    assert len(whole) == 3
    for one, other in zip(whole[1:], source.chunks(0, 1)):
        assert torch.equal(one, other)


def test_caches_hold_every_state_as_float16(bert, tmp_path):
    source = BackboneStates(Backbone.load(bert, layer=1), lambda: TEXTS, TokenStates())
    expected = torch.cat(list(source.chunks(0, 0))).half().numpy()
    for cached in (cache_in_memory(source), cache_on_disk(source, tmp_path / "deep" / "states.float16")):
        np.testing.assert_array_equal(np.asarray(cached.array), expected)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["states.float16"]

    class Untouched:
        d_model = source.d_model

        def chunks(self, epoch, start):
            raise AssertionError("the cache was not used")

    again = cache_on_disk(Untouched(), tmp_path / "deep" / "states.float16")
    np.testing.assert_array_equal(np.asarray(again.array), expected)


def test_an_interrupted_disk_cache_leaves_nothing(tmp_path):
    class Broken:
        d_model = 2

        def chunks(self, epoch, start):
            yield torch.ones(3, 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache_on_disk(Broken(), tmp_path / "states.float16")
    assert list(tmp_path.iterdir()) == []


def test_states_beyond_float16_are_refused():
    class Huge:
        d_model = 2

        def chunks(self, epoch, start):
            yield torch.full((1, 2), 1e6)

    with pytest.raises(InputError, match="float16"):
        cache_in_memory(Huge())


def test_corpora_are_read_in_turns_without_the_excluded(tmp_path):
    first = corpus(tmp_path / "a.jsonl", ["a1", "a2", " ", "a3"])
    second = corpus(tmp_path / "b.jsonl", ["b1", "test  passage"])
    held_out = corpus(tmp_path / "c.jsonl", ["test passage"])
    assert list(read_texts(TextData([first, second], [held_out]))) == ["a1", "b1", "a2", "a3"]
    assert list(read_texts(TextData([first, second], max_texts=3))) == ["a1", "b1", "a2"]


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
