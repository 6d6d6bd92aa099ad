"""The label-free recipes on published pairs: each loads, names SAEs that there are, and says its memory rightly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from tests.encoder.tiny_models import TEXTS, tiny_checkpoint

from saelex.encoder.backbone.backbone import Backbone
from saelex.recipe import load_recipe
from saelex.sae.activations import ReLU
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.catalogue import find
from saelex.sae.config import SaeConfig
from saelex.training.label_free import LabelFreeRecipe, label_free_encoder
from saelex.training.text_settings import TextData

RECIPES = Path(__file__).parents[2] / "recipes" / "label_free"
PUBLISHED = ["gemma3_270m", "gemma3_1b", "qwen3_1_7b", "gemma2_2b"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_fits_the_catalogue(name: str) -> None:
    path = RECIPES / f"{name}.yaml"
    recipe = load_recipe(LabelFreeRecipe, path, ["data.corpora=[corpus.jsonl]"])
    entry = find(recipe.sae)
    assert recipe.model == entry.model.name
    assert recipe.bidirectional is False  # the SAE has seen causal states, and nothing is trained here
    assert recipe.settings.mask_special_tokens
    assert abs((entry.layer + 1) / entry.model.blocks - 2 / 3) < 0.08
    assert entry.fits(8_000_000_000)

    comment = " ".join(line.removeprefix("#").strip() for line in path.read_text().splitlines() if line[:1] == "#")
    assert comment.startswith(f"saelex label-free recipes/label_free/{name}.yaml --output ")
    sizes = [total / 1e9 for dtype in ("bfloat16", "float32") if (total := entry.total_bytes(dtype)) is not None]
    assert re.search(rf"{sizes[0]:.2f} GB in bfloat16, {sizes[1]:.2f} GB in float32", comment)
    assert f"blocks 0 to {entry.layer} of {entry.model.blocks}" in comment
    assert f"saelex sae info {entry.id}" in comment


def test_a_causal_recipe_makes_a_causal_encoder(tmp_path: Path) -> None:
    model = tiny_checkpoint("qwen3", tmp_path / "qwen3")
    d_model = Backbone.load(model, layer=1).d_model
    W = torch.randn(d_model, 48, generator=torch.Generator().manual_seed(0))
    config = SaeConfig(d_model, 48, layer=1, hook_name="blocks.1.hook_resid_post")
    SparseAutoencoder(W, torch.zeros(48), W.T.contiguous(), torch.zeros(d_model), ReLU(), config).save(tmp_path / "sae")
    (tmp_path / "corpus.tsv").write_text("".join(f"{i}\t{text}\n" for i, text in enumerate(TEXTS)))
    data = TextData(corpora=[str(tmp_path / "corpus.tsv")])
    for asked, bidirectional in ((False, False), (None, True)):
        recipe = LabelFreeRecipe(model=str(model), sae=str(tmp_path / "sae"), bidirectional=asked, data=data)
        encoder = label_free_encoder(recipe)
        assert encoder.backbone.bidirectional is bidirectional
        # a causal token does not know what follows: the states of a text's beginning stay the same
        ids = torch.tensor([[5, 6, 7, 8]])
        with torch.no_grad():
            alone, before = encoder.backbone(ids[:, :2]), encoder.backbone(ids)[:, :2]
        assert torch.allclose(alone, before, atol=1e-5) is (not bidirectional)
