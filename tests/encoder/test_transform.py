"""SAEs that read the output of the masked-LM transform (SAE-SPLADE's "h"), against transformers' own modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.encoder.tiny_models import LONG_TEXT, TEXTS, tiny_checkpoint
from torch import Tensor
from transformers import AutoModelForMaskedLM, PreTrainedModel

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.vocabulary import load_transform
from saelex.encoder.encoder import Encoder
from saelex.encoder.settings import EncoderSettings
from saelex.errors import InputError, MismatchError
from saelex.sae.activations import TopK
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.config import MLM_TRANSFORM, SaeConfig
from saelex.sae.normalisation import TokenNorm

WIDTH, D_MODEL = 48, 32
TRANSFORMS: dict[str, Callable[[PreTrainedModel, Tensor], Tensor]] = {
    "bert": lambda model, h: model.cls.predictions.transform(h),
    "distilbert": lambda model, h: model.vocab_layer_norm(model.activation(model.vocab_transform(h))),
    "modernbert": lambda model, h: model.head(h),
}


def transformed(model_type: str, folder: Path, ids: Tensor) -> Tensor:
    """transformers' states before the output embedding, [tokens, d_model], of ids [1, tokens]."""
    model = AutoModelForMaskedLM.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        return TRANSFORMS[model_type](model, model.base_model(ids).last_hidden_state)[0]


def transform_sae(model: Path | str, norm: TokenNorm | None = None) -> SparseAutoencoder:
    generator = torch.Generator().manual_seed(0)
    shapes = ((D_MODEL, WIDTH), (WIDTH,), (WIDTH, D_MODEL), (D_MODEL,))
    tensors = [torch.randn(shape, generator=generator) * 0.3 for shape in shapes]
    config = SaeConfig(D_MODEL, WIDTH, model_name=str(model), hook_name=MLM_TRANSFORM)
    return SparseAutoencoder(*tensors, TopK(6), config, apply_b_dec_to_input=True, input_norm=norm)


@pytest.mark.parametrize("model_type", TRANSFORMS)
def test_the_transform_is_transformers_own(model_type: str, tmp_path: Path) -> None:
    folder = tiny_checkpoint(model_type, tmp_path, language_model=True)
    backbone = Backbone.load(folder, output="final")
    ids = backbone.tokenizer(LONG_TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        states = load_transform(backbone)(backbone(ids))[0]
    torch.testing.assert_close(states, transformed(model_type, folder, ids), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model_type", TRANSFORMS)
@pytest.mark.parametrize("norm", [None, "layer_norm"])
def test_an_encoder_puts_it_before_the_sae(model_type: str, norm: str | None, tmp_path: Path) -> None:
    folder = tiny_checkpoint(model_type, tmp_path / "model", language_model=True)
    transform_sae(folder, TokenNorm(norm) if norm else None).save(tmp_path / "sae")  # type: ignore[arg-type]
    sae = SparseAutoencoder.load(tmp_path / "sae")
    assert sae.config.reads_transform and sae.config.layer is None
    encoder = Encoder.from_sae(folder, sae, settings=EncoderSettings(document_top_k=None))
    wanted = []
    for text in encoder.tokenizer.tokenize(list(TEXTS), "document"):
        states = transformed(model_type, folder, torch.from_numpy(text.ids)[None])[torch.from_numpy(text.pooled)]
        wanted.append(torch.log1p(sae.encode(states).amax(0)).detach().numpy())  # [latents]
    rows = encoder.encode_document(TEXTS)
    np.testing.assert_allclose(rows.to_dense(), np.stack(wanted), rtol=1e-4, atol=1e-4)
    encoder.save_pretrained(tmp_path / "saved")
    loaded = Encoder.load(tmp_path / "saved", device="cpu")
    assert loaded.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(loaded.encode_document(TEXTS).to_dense(), rows.to_dense())


def test_a_cut_backbone_or_one_without_a_head_is_refused(tmp_path: Path) -> None:
    llama = tiny_checkpoint("llama", tmp_path / "llama", language_model=True)
    with pytest.raises(InputError, match="no masked-LM head, so no transform"):
        Encoder.from_sae(llama, transform_sae(llama))
    bare = tiny_checkpoint("bert", tmp_path / "bare")
    with pytest.raises(InputError, match=r"no masked-LM head \(cls\.predictions\.transform\.dense\)"):
        Encoder.from_sae(bare, transform_sae(bare))
    whole = tiny_checkpoint("modernbert", tmp_path / "whole", language_model=True)
    with pytest.raises(InputError, match="reads block 3, not block 1; leave layer out"):
        Encoder.from_sae(whole, transform_sae(whole), layer=1)
    with pytest.raises(InputError, match="output='final'"):
        Encoder.from_sae(Backbone.load(whole), transform_sae(whole))


def test_sae_and_transform_belong_together(tmp_path: Path) -> None:
    folder = tiny_checkpoint("bert", tmp_path, language_model=True)
    sae = transform_sae(folder)
    with pytest.raises(MismatchError, match="reads mlm_transform, not the residual stream"):
        Encoder.from_sae(folder, sae, layer=3, transform=False)
    ordinary = SparseAutoencoder(
        sae.W_enc.data, sae.b_enc.data, None, sae.b_dec.data, TopK(6), replace(sae.config, layer=3, hook_name=None)
    )
    with pytest.raises(MismatchError, match=r"reads blocks\.3\.hook_resid_post, not the output of the masked-LM"):
        Encoder.from_sae(folder, ordinary, transform=True)
    other = replace(sae.config, model_name="another-model")
    sae.config = other
    with pytest.raises(MismatchError, match="another-model"):
        Encoder.from_sae(folder, sae)
