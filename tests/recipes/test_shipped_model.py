"""The embedded default is what its recipe says, and small."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from saelex.encoder.backbone.packaged import MINILM, locate
from saelex.encoder.encoder import Encoder
from saelex.encoder.weighting import LatentWeighting
from saelex.errors import InputError
from saelex.recipe import load_recipe
from saelex.training.retrieval.recipe import RetrievalRecipe

MODEL = Path("models/saelex-minilm")


def test_the_shipped_model_is_made_of_the_shipped_recipe() -> None:
    recipe = load_recipe(RetrievalRecipe, "recipes/default/minilm.yaml", ["model.device=cpu"])
    # read as a recipe: a setting that came later has its default
    assert load_recipe(RetrievalRecipe, MODEL / "training" / "recipe.yaml") == recipe
    config = json.loads((MODEL / "saelex_config.json").read_text())
    assert config["settings"] == recipe.settings.to_dict()
    assert config["backbone"]["model"] == recipe.model.backbone
    assert config["backbone"]["update"]["rank"] == recipe.tune.lora.rank
    assert config["head"]["activation"] == {"kind": "topk", "k": recipe.model.token_k}
    assert (config["head"]["pooling"], config["head"]["saturation"]) == (recipe.model.pooling, recipe.model.saturation)
    weighting = LatentWeighting.load(MODEL)
    assert weighting.settings == recipe.weighting.settings
    assert weighting.statistics.n_documents == recipe.weighting.texts.max_texts
    facts = json.loads((MODEL / "training" / "facts.json").read_text())
    assert facts["steps"] == recipe.training.max_steps
    assert [source["name"] for source in facts["data"]["sources"]] == [source.path for source in recipe.data.sources]


def test_card_and_folder_agree_on_what_the_model_is() -> None:
    try:
        locate(MINILM)
    except InputError:
        pytest.skip("all-MiniLM-L6-v2 is not installed")
    encoder = Encoder.load("saelex-minilm", device="cpu")
    assert f"| Fingerprint | `{encoder.fingerprint}` |" in (MODEL / "README.md").read_text()


def test_it_is_small_and_names_its_licence_and_no_place_of_a_machine() -> None:
    files = [path for path in MODEL.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 16_000_000
    texts = [path.read_text() for path in files if path.suffix != ".safetensors"]
    assert not any(re.search(r"[\"'\s]/\w", text) for text in texts)  # an absolute path
    assert "license: apache-2.0" in (MODEL / "README.md").read_text()
