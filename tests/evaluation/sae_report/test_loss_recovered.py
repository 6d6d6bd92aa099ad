"""Loss recovered, against a computation of its own: block after block, one text at a time, without padding."""

import math

import numpy as np
import pytest
import torch
from tests.encoder.tiny_models import D_MODEL, LAYERS, TEXTS, tiny_checkpoint
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from saelex.encoder.backbone.backbone import Backbone
from saelex.errors import InputError
from saelex.evaluation.sae_report.loss_recovered import loss_recovered
from saelex.sae.activations import ReLU, TopK
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.config import SaeConfig
from saelex.training.text_settings import TokenStates

LAYER = 1


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny_checkpoint("llama", tmp_path_factory.mktemp("models") / "llama", language_model=True)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_checkpoint("bert", tmp_path_factory.mktemp("models") / "bert", language_model=True)


def identity():
    """relu(x) - relu(-x) = x, exactly."""
    both = torch.cat([torch.eye(D_MODEL), -torch.eye(D_MODEL)], dim=1)
    zeros = torch.zeros(2 * D_MODEL), torch.zeros(D_MODEL)
    return SparseAutoencoder(both, zeros[0], both.T.clone(), zeros[1], ReLU(), SaeConfig(D_MODEL, 2 * D_MODEL))


def sparse():
    generator = torch.Generator().manual_seed(3)
    W = torch.randn(D_MODEL, 80, generator=generator) / D_MODEL**0.5
    biases = 0.1 * torch.randn(80, generator=generator), 0.1 * torch.randn(D_MODEL, generator=generator)
    return SparseAutoencoder(W, biases[0], W.T.clone(), biases[1], TopK(6), SaeConfig(D_MODEL, 80))


def rebuilt(sae, states):
    pre = states @ sae.W_enc + sae.b_enc
    top = pre.topk(6, dim=1)
    return torch.zeros_like(pre).scatter(1, top.indices, top.values.relu()) @ sae.W_dec + sae.b_dec


def llama_losses(folder, replace, layer):
    """Cross-entropies of every token after BOS, with the states of all tokens but BOS replaced after a block."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    losses = []
    for text in TEXTS:
        ids = tokenizer(text, return_tensors="pt").input_ids
        length = ids.shape[1]
        mask = torch.full((length, length), -math.inf).triu(1)[None, None]
        hidden = model.model.embed_tokens(ids)
        rotation = model.model.rotary_emb(hidden, torch.arange(length)[None])
        for number, block in enumerate(model.model.layers):
            hidden = block(hidden, attention_mask=mask, position_embeddings=rotation)
            if number == layer and replace is not None:
                hidden = torch.cat([hidden[:, :1], replace(hidden[0, 1:])[None]], dim=1)
        logits = model.lm_head(model.model.norm(hidden))[0]
        losses.append(cross_entropy(logits[:-1], ids[0, 1:], reduction="none"))
    return torch.cat(losses)


def bert_losses(folder, replace, layer, *, share, seed):
    """Cross-entropies of the masked tokens, with the states of all tokens but [CLS] and [SEP] replaced."""
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    losses = []
    for number, text in enumerate(TEXTS):
        ids = tokenizer(text, return_tensors="pt").input_ids
        places = np.arange(1, ids.shape[1] - 1)
        count = max(1, round(share * len(places)))
        masked = np.random.default_rng([seed, number]).choice(places, count, replace=False)
        shown = ids.clone()
        shown[0, masked] = tokenizer.mask_token_id
        hidden = model.bert.embeddings(input_ids=shown)
        for block_number, block in enumerate(model.bert.encoder.layer):
            hidden = block(hidden)
            if block_number == layer and replace is not None:
                hidden = torch.cat([hidden[:, :1], replace(hidden[0, 1:-1])[None], hidden[:, -1:]], dim=1)
        losses.append(cross_entropy(model.cls(hidden)[0, masked], ids[0, masked], reduction="none"))
    return torch.cat(losses)


@pytest.mark.parametrize("layer", [LAYER, LAYERS - 1])
@pytest.mark.parametrize("budget", [1, 40, 4096])
@torch.no_grad()
def test_next_token_losses_equal_a_walk_through_the_blocks(llama, layer, budget):
    sae = sparse()
    backbone = Backbone.load(llama, layer=layer, bidirectional=False)
    settings = TokenStates(max_length=None, token_budget=budget)
    found = loss_recovered([sae, identity()], backbone, TEXTS, settings)
    clean = llama_losses(llama, None, layer)
    spliced = llama_losses(llama, lambda states: rebuilt(sae, states), layer)
    ablated = llama_losses(llama, torch.zeros_like, layer)
    assert (found[0].objective, found[0].targets, found[0].ablation) == ("next token", len(clean), "zero")
    np.testing.assert_allclose(
        [found[0].clean, found[0].spliced, found[0].ablated], [x.mean() for x in (clean, spliced, ablated)], rtol=1e-5
    )
    expected = (ablated.mean() - spliced.mean()) / (ablated.mean() - clean.mean())
    np.testing.assert_allclose(found[0].recovered, expected, rtol=1e-3)
    assert abs(found[0].recovered - 1) > 0.01  # this SAE is no good, and it shows
    assert found[1].recovered == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("share", [0.15, 0.6])
@torch.no_grad()
def test_masked_token_losses_equal_a_walk_through_the_blocks(bert, share):
    sae = sparse()
    backbone = Backbone.load(bert, layer=LAYER)
    found = loss_recovered([sae, identity()], backbone, TEXTS, TokenStates(), masked_share=share, seed=5)
    walks = [
        bert_losses(bert, replace, LAYER, share=share, seed=5)
        for replace in (None, lambda states: rebuilt(sae, states), torch.zeros_like)
    ]
    assert (found[0].objective, found[0].targets) == ("masked token", len(walks[0]))
    np.testing.assert_allclose(
        [found[0].clean, found[0].spliced, found[0].ablated], [walk.mean() for walk in walks], rtol=1e-5
    )
    assert found[1].recovered == pytest.approx(1.0, abs=1e-6)
    other = loss_recovered([sae], backbone, TEXTS, TokenStates(), masked_share=share, seed=6)[0]
    assert other.clean != found[0].clean


@torch.no_grad()
def test_ablation_by_the_mean_state(llama):
    mean = torch.linspace(-1, 1, D_MODEL)
    backbone = Backbone.load(llama, layer=LAYER, bidirectional=False)
    found = loss_recovered([sparse()], backbone, TEXTS, TokenStates(), mean_state=mean)[0]
    assert found.ablation == "mean"
    expected = llama_losses(llama, lambda states: mean.expand_as(states), LAYER).mean()
    np.testing.assert_allclose(found.ablated, expected, rtol=1e-5)


@torch.no_grad()
def test_special_tokens_are_replaced_where_asked_and_sinks_are_not(llama):
    """Where every state but BOS counts as a sink nothing is replaced; unmasked, BOS is."""
    backbone = Backbone.load(llama, layer=LAYER, bidirectional=False)
    clean = loss_recovered([sparse()], backbone, TEXTS, TokenStates(sink_norm=1e-6))[0]
    assert clean.spliced == clean.ablated == clean.clean
    masked = loss_recovered([sparse()], backbone, TEXTS, TokenStates())[0]
    unmasked = loss_recovered([sparse()], backbone, TEXTS, TokenStates(mask_special_tokens=False))[0]
    assert masked.clean == unmasked.clean and masked.targets == unmasked.targets
    assert abs(masked.ablated - unmasked.ablated) > 1e-3


def test_nothing_to_predict_and_no_head_are_refused(bert, tmp_path):
    with pytest.raises(InputError, match="no token to predict"):
        loss_recovered([sparse()], Backbone.load(bert, layer=1), ["", "  "], TokenStates())
    with pytest.raises(InputError, match="no language model head"):
        loss_recovered([sparse()], Backbone.load(tiny_checkpoint("bert", tmp_path)), TEXTS, TokenStates())
