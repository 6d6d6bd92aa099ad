"""The label-free encoder against the formula, written out with plain numpy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.encoder.tiny_models import TEXTS, tiny_checkpoint
from transformers import AutoModelForMaskedLM

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.encoder import Encoder
from saelex.encoder.settings import EncoderSettings
from saelex.encoder.weighting import WeightingSettings
from saelex.errors import InputError
from saelex.sae.activations import ReLU, TopK
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.config import MLM_TRANSFORM, SaeConfig
from saelex.training.label_free import LabelFreeRecipe, label_free_encoder
from saelex.training.text_settings import TextData

WIDTH, K = 48, 3


def save_sae(folder: Path, d_model: int, activation: TopK | ReLU) -> Path:
    generator = torch.Generator().manual_seed(3)
    W_enc = torch.randn(d_model, WIDTH, generator=generator)
    config = SaeConfig(d_model, WIDTH, layer=1, hook_name="blocks.1.hook_resid_post")
    sae = SparseAutoencoder(W_enc, torch.zeros(WIDTH), W_enc.T.clone(), torch.zeros(d_model), activation, config)
    sae.save(folder)
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> LabelFreeRecipe:
    model = tiny_checkpoint("bert", tmp_path / "bert")
    sae = save_sae(tmp_path / "sae", Backbone.load(model, layer=1).d_model, TopK(6))
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"_id": str(i), "text": text}) + "\n" for i, text in enumerate(TEXTS)))
    return LabelFreeRecipe(
        model=str(model),
        sae=str(sae),
        k=K,
        settings=EncoderSettings(query_top_k=4, document_top_k=9),
        weighting=WeightingSettings(k1=0.9, b=0.3, idf_power=0.75),
        data=TextData(corpora=[str(corpus)]),
    )


def pooled(recipe: LabelFreeRecipe, text: str) -> np.ndarray:
    """sqrt of the largest activation per latent, after a top-k of every token's pre-activations: [latents]."""
    backbone, sae = Backbone.load(recipe.model, layer=1), SparseAutoencoder.load(recipe.sae)
    ids = torch.tensor([backbone.tokenizer(text).input_ids])
    with torch.no_grad():
        pre = (backbone(ids, torch.ones_like(ids))[0, 1:-1] @ sae.W_enc).numpy()  # [tokens, latents]
    kept = np.where(pre >= np.sort(pre, axis=1)[:, -K, None], pre, 0)
    return np.sqrt(np.maximum(kept, 0).max(axis=0))


def test_vectors_are_bm25_over_the_saes_latents(recipe: LabelFreeRecipe) -> None:
    encoder = label_free_encoder(recipe)
    raw = np.stack([pooled(recipe, text) for text in TEXTS])
    df, length = (raw > 0).sum(axis=0), raw.sum(axis=1)
    half_idf = np.log1p((len(TEXTS) - df + 0.5) / (df + 0.5)) ** (0.75 / 2)
    norm = 0.9 * (1 - 0.3 + 0.3 * length / length.mean())
    documents = raw / (raw + norm[:, None]) * half_idf
    np.testing.assert_allclose(encoder.encode_document(TEXTS, top_k=None).to_dense(), documents, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_query(TEXTS, top_k=None).to_dense(), raw * half_idf, rtol=1e-4, atol=1e-5)
    assert encoder.encode_query(TEXTS).lengths.max() == 4
    assert encoder.encode_document(TEXTS).lengths.max() == 9


def test_the_saved_model_gives_the_same_vectors(recipe: LabelFreeRecipe, tmp_path: Path) -> None:
    encoder = label_free_encoder(recipe)
    encoder.save_pretrained(tmp_path / "model")
    loaded = Encoder.load(tmp_path / "model")
    assert loaded.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(loaded.encode_document(TEXTS).to_dense(), encoder.encode_document(TEXTS).to_dense())


def test_an_sae_of_the_masked_lm_transform(recipe: LabelFreeRecipe, tmp_path: Path) -> None:
    model = tiny_checkpoint("distilbert", tmp_path / "distilbert", language_model=True)
    sae = SparseAutoencoder.load(recipe.sae)
    sae.config = replace(sae.config, layer=None, hook_name=MLM_TRANSFORM, model_name=str(model))
    sae.save(tmp_path / "of-transform")
    encoder = label_free_encoder(replace(recipe, model=str(model), sae=str(tmp_path / "of-transform")))
    text = encoder.tokenizer.tokenize([TEXTS[0]], "query")[0]
    full = AutoModelForMaskedLM.from_pretrained(model).eval()
    with torch.no_grad():
        hidden = full.distilbert(torch.from_numpy(text.ids)[None]).last_hidden_state[0, 1:-1]
        states = full.vocab_layer_norm(full.activation(full.vocab_transform(hidden)))
        latents = TopK(K)(states @ sae.W_enc).amax(0).sqrt().numpy()
    assert encoder.weighting is not None
    row = encoder.encode_query(TEXTS[0], top_k=None).to_dense()[0]
    np.testing.assert_allclose(row, latents * encoder.weighting.idf_share(), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_is_refused(recipe: LabelFreeRecipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no model, no sae or no data\.corpora"):
        label_free_encoder(LabelFreeRecipe(model=recipe.model))
    relu = save_sae(tmp_path / "relu", SparseAutoencoder.load(recipe.sae).config.d_model, ReLU())
    with pytest.raises(InputError, match="k is for TopK SAEs"):
        label_free_encoder(LabelFreeRecipe(model=recipe.model, sae=str(relu), k=3, data=recipe.data))
