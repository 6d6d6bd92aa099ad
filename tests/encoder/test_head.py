from __future__ import annotations

import pytest
import torch
from torch import nn

from saelex.encoder.head import LinearHead
from saelex.encoder.pooling import pool
from saelex.errors import InputError
from saelex.sae.activations import JumpReLU, ReLU, TopK
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.config import SaeConfig
from saelex.sae.normalisation import TokenNorm

D_MODEL, N_LATENTS, TOKENS = 12, 50, 7


def random_sae(activation, **settings) -> SparseAutoencoder:
    return SparseAutoencoder(
        torch.randn(D_MODEL, N_LATENTS),
        torch.randn(N_LATENTS),
        torch.randn(N_LATENTS, D_MODEL),
        torch.randn(D_MODEL),
        activation,
        SaeConfig(D_MODEL, N_LATENTS),
        **settings,
    )


@pytest.mark.parametrize("activation", [ReLU(), JumpReLU(torch.full((N_LATENTS,), 0.7)), TopK(5)])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"apply_b_dec_to_input": True},
        {"encoder_scale": torch.linspace(0.2, 3, N_LATENTS), "apply_b_dec_to_input": True},
        {"input_norm": TokenNorm("layer_norm")},
    ],
)
@pytest.mark.parametrize("implementation", ["reference", "fused"])
def test_sae_head_pools_what_the_sae_encodes(activation, settings, implementation):
    torch.manual_seed(0)
    sae = random_sae(activation, **settings)
    hidden = torch.randn(TOKENS, D_MODEL)
    pooled = pool(hidden, torch.tensor([0, 4, TOKENS]), LinearHead.from_sae(sae), implementation)
    latents = sae.encode(hidden)
    expected = torch.log1p(torch.stack([latents[:4].amax(0), latents[4:].amax(0)]))
    torch.testing.assert_close(pooled.weights, expected, atol=1e-5, rtol=1e-5)


def test_sae_head_is_a_copy_in_the_sae_dtype_with_a_float32_bias():
    sae = random_sae(JumpReLU(torch.rand(N_LATENTS)), apply_b_dec_to_input=True).bfloat16()
    head = LinearHead.from_sae(sae)
    assert head.weight.dtype == torch.bfloat16
    assert torch.equal(head.weight, sae.W_enc.t())
    folded = sae.b_enc.float() - sae.b_dec.float() @ sae.W_enc.float()
    torch.testing.assert_close(head.bias.detach(), folded)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_leaves_bias_scale_alpha_and_threshold_alone(dtype):
    bias, scale, threshold = torch.randn(N_LATENTS), torch.rand(N_LATENTS) + 0.1, torch.rand(N_LATENTS)
    head = LinearHead(torch.randn(N_LATENTS, D_MODEL), bias, JumpReLU(threshold), scale=scale, alpha=0.3)
    head.to(dtype)
    assert head.weight.dtype == dtype
    assert torch.equal(head.bias, bias)
    assert torch.equal(head.scale, scale)
    assert torch.equal(head.activation.threshold, threshold)
    assert head.alpha.item() == torch.tensor(0.3).item()
    assert head.double().bias.dtype == torch.float64


def test_vocabulary_head_is_splade_with_the_models_transform_and_soft_cap():
    torch.manual_seed(0)
    transform = nn.Sequential(nn.Linear(D_MODEL, D_MODEL), nn.GELU(), nn.LayerNorm(D_MODEL))
    embedding = nn.Embedding(N_LATENTS, D_MODEL)
    head = LinearHead.from_vocabulary(transform, embedding.weight, softcap=2.0)
    hidden = torch.randn(TOKENS, D_MODEL)
    logits = 2.0 * torch.tanh(transform(hidden) @ embedding.weight.t() / 2.0)
    expected = torch.log1p(torch.relu(logits)).amax(0)
    for implementation in ("reference", "fused"):
        pooled = pool(hidden, torch.tensor([0, TOKENS]), head, implementation)
        torch.testing.assert_close(pooled.weights[0], expected, atol=1e-5, rtol=1e-5)


def test_vocabulary_head_keeps_tied_embeddings_tied():
    embedding = nn.Embedding(N_LATENTS, D_MODEL)
    head = LinearHead.from_vocabulary(nn.Identity(), embedding.weight, torch.zeros(N_LATENTS))
    assert head.weight is embedding.weight


def test_state_dict_restores_the_head():
    torch.manual_seed(0)

    def make() -> LinearHead:
        return LinearHead(
            torch.randn(N_LATENTS, D_MODEL),
            torch.randn(N_LATENTS),
            JumpReLU(torch.rand(N_LATENTS)),
            scale=torch.rand(N_LATENTS) + 0.1,
            alpha=float(torch.rand(())),
        )

    first, second = make(), make()
    second.load_state_dict(first.state_dict())
    hidden, offsets = torch.randn(TOKENS, D_MODEL), torch.tensor([0, TOKENS])
    assert torch.equal(pool(hidden, offsets, first).weights, pool(hidden, offsets, second).weights)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"weight": torch.zeros(3)}, "n_latents, d_model"),
        ({"weight": torch.zeros(N_LATENTS, 3, dtype=torch.int64)}, "floating-point"),
        ({"bias": torch.zeros(3)}, "needs a bias of that length"),
        ({"scale": torch.zeros(N_LATENTS)}, "positive"),
        ({"scale": torch.ones(3)}, "one positive number for each"),
        ({"activation": JumpReLU(torch.zeros(3))}, "3 thresholds do not fit 50 latents"),
        ({"activation": TopK(51)}, "TopK keeps 51 latents"),
        ({"softcap": -1.0}, "soft-cap is a positive number"),
        ({"softcap": 30.0, "activation": TopK(2)}, "whose gate is ReLU"),
        ({"pooling": "mean"}, "pooling is one of max, sum"),
        ({"saturation": "log"}, "saturation is one of"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, message):
    whole = {"weight": torch.zeros(N_LATENTS, D_MODEL), "bias": torch.zeros(N_LATENTS), "activation": ReLU()}
    with pytest.raises(InputError, match=message):
        LinearHead(**(whole | parts))
