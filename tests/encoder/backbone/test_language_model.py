"""The whole model behind a backbone: its logits, and what follows when a block's output is replaced."""

import pytest
import torch
from tests.encoder.tiny_models import DECODERS, ENCODERS, TEXTS, tiny_checkpoint
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, Gemma3Config, Gemma3ForConditionalGeneration

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.language_model import LanguageModel
from saelex.encoder.backbone.vocabulary import has_language_model_head
from saelex.errors import InputError


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {name: tiny_checkpoint(name, root / name, language_model=True) for name in (*ENCODERS, *DECODERS)}


def load(folder, model_type, layer=1):
    return Backbone.load(folder, layer=layer, bidirectional=False if model_type in DECODERS else None)


def batch(backbone):
    encoded = backbone.tokenizer(list(TEXTS), return_tensors="pt", padding=True)
    return encoded.input_ids, encoded.attention_mask


@pytest.mark.parametrize("model_type", [*ENCODERS, *DECODERS])
def test_logits_are_hugging_faces_and_the_hook_sees_the_backbones_states(folders, model_type):
    backbone = load(folders[model_type], model_type)
    ids, mask = batch(backbone)
    kind = AutoModelForCausalLM if model_type in DECODERS else AutoModelForMaskedLM
    with torch.no_grad():
        expected = kind.from_pretrained(folders[model_type]).eval()(input_ids=ids, attention_mask=mask).logits
        model = LanguageModel.of(backbone)
        seen = []
        clean, watched = model(ids, mask), model(ids, mask, lambda hidden: seen.append(hidden) or hidden)
        changed = model(ids, mask, lambda hidden: hidden + torch.linspace(-1, 1, hidden.shape[-1]))
        states = backbone(ids, mask)
    real = mask.bool()
    torch.testing.assert_close(clean[real], expected[real], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(watched[real], clean[real])
    torch.testing.assert_close(seen[0][real], states[real], rtol=1e-4, atol=1e-5)
    assert float((changed[real] - clean[real]).abs().max()) > 0.01
    assert torch.equal(model(ids, mask), clean)  # the hook is gone


def test_text_part_of_a_vision_gemma3(folders, tmp_path):
    text = Backbone.load(folders["gemma3_text"]).checkpoint.settings
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 28, "patch_size": 14}  # fmt: skip
    config = Gemma3Config(text_config={k: v for k, v in text.items() if k != "architectures"}, vision_config=vision)
    Gemma3ForConditionalGeneration(config).save_pretrained(tmp_path)
    Backbone.load(folders["gemma3_text"]).tokenizer.save_pretrained(tmp_path)
    backbone = Backbone.load(tmp_path, layer=2, bidirectional=False)
    ids, mask = batch(backbone)
    seen = []
    with torch.no_grad():
        LanguageModel.of(backbone)(ids, mask, lambda hidden: seen.append(hidden) or hidden)
        torch.testing.assert_close(seen[0][mask.bool()], backbone(ids, mask)[mask.bool()], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_type", ["bert", "distilbert", "llama"])
def test_a_bare_model_has_no_head(tmp_path, model_type):
    backbone = load(tiny_checkpoint(model_type, tmp_path), model_type)
    assert not has_language_model_head(backbone.checkpoint)
    with pytest.raises(InputError, match="no language model head"):
        LanguageModel.of(backbone)


def test_a_bare_decoder_that_ties_its_embedding_has_one(tmp_path):
    backbone = load(tiny_checkpoint("gemma2", tmp_path), "gemma2")
    assert has_language_model_head(backbone.checkpoint)
    ids, mask = batch(backbone)
    with torch.no_grad():
        logits = LanguageModel.of(backbone)(ids, mask)
        hidden = Backbone.load(tmp_path, output="final", bidirectional=False)(ids, mask)
        raw = hidden @ backbone.model.embed_tokens.weight.T
    expected = 3.0 * torch.tanh(raw / 3.0)  # the tiny Gemma's soft-cap
    torch.testing.assert_close(logits[mask.bool()], expected[mask.bool()], rtol=1e-4, atol=1e-4)


def test_a_decoder_read_in_both_directions_has_no_loss(folders):
    with pytest.raises(InputError, match="both directions"):
        LanguageModel.of(Backbone.load(folders["llama"], layer=1))
