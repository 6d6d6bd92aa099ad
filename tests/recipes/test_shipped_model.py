"""The embedded models are what their recipes say, and small."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from saelex.encoder.backbone.packaged import E5, MINILM, PackagedBackbone, is_here
from saelex.encoder.encoder import Encoder
from saelex.encoder.weighting import LatentWeighting
from saelex.recipe import load_recipe
from saelex.training.label_free import LabelFreeRecipe
from saelex.training.retrieval.recipe import RetrievalRecipe
from saelex.training.sae.recipe import SaeRecipe

MODEL = Path("models/saelex-minilm")
MULTILINGUAL = Path("models/saelex-multilingual")


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


def test_the_multilingual_model_is_made_of_the_shipped_recipes() -> None:
    recipe = load_recipe(LabelFreeRecipe, "recipes/label_free/e5.yaml")
    sae = load_recipe(SaeRecipe, "recipes/sae/e5.yaml")
    config = json.loads((MULTILINGUAL / "saelex_config.json").read_text())
    assert config["settings"] == recipe.settings.to_dict()
    assert config["backbone"]["model"] == recipe.model == sae.model
    assert config["backbone"]["layer"] == sae.layer
    assert config["head"]["activation"] == {"kind": "topk", "k": recipe.k}
    assert (config["head"]["pooling"], config["head"]["saturation"]) == (recipe.pooling, recipe.saturation)
    assert config["head"]["n_latents"] == sae.training.n_latents
    assert config["description"]["training_data"] == recipe.training_data
    weighting = LatentWeighting.load(MULTILINGUAL)
    assert weighting.settings == recipe.weighting
    assert weighting.statistics.n_documents == recipe.data.max_texts


@pytest.mark.parametrize(("model", "backbone"), [(MODEL, MINILM), (MULTILINGUAL, E5)])
def test_card_and_folder_agree_on_what_the_model_is(model: Path, backbone: PackagedBackbone) -> None:
    if not is_here(backbone):
        pytest.skip(f"{backbone.model_id} is not installed")
    encoder = Encoder.load(model.name, device="cpu")
    assert f"| Fingerprint | `{encoder.fingerprint}` |" in (model / "README.md").read_text()


@pytest.mark.parametrize(("model", "licence", "bound"), [(MODEL, "apache-2.0", 16e6), (MULTILINGUAL, "mit", 20e6)])
def test_it_is_small_and_names_its_licence_and_no_place_of_a_machine(model: Path, licence: str, bound: float) -> None:
    files = [path for path in model.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < bound
    texts = [path.read_text() for path in files if path.suffix != ".safetensors"]
    assert not any(re.search(r"[\"'\s]/\w", text) for text in texts)  # an absolute path
    assert f"license: {licence}" in (model / "README.md").read_text()
