from __future__ import annotations

import pytest
import torch

from saelex.encoder.pooling import products
from saelex.encoder.pooling.token_topk import token_topk


@pytest.mark.parametrize("block_latents", [64, 256, 4096])
@pytest.mark.parametrize("k", [1, 8, 100])
def test_it_is_the_top_k_of_all_latents(k, block_latents, monkeypatch):
    monkeypatch.setattr(products, "_CPU_BLOCK", 1)
    monkeypatch.setattr(products, "_FEWEST_LATENTS", block_latents)
    torch.manual_seed(0)
    hidden, weight = torch.randn(9, 16).double(), torch.randn(700, 16).double()
    bias, scale = torch.randn(700), torch.rand(700) + 0.5
    values, latents = token_topk(hidden, weight, bias, scale, k)
    expected = ((hidden @ weight.t() + bias) * scale).topk(k, dim=1)
    torch.testing.assert_close(values, expected.values)
    assert torch.equal(latents, expected.indices)


def test_equal_values_keep_the_lower_latents():
    hidden, weight = torch.ones(2, 3), torch.ones(300, 3)
    values, latents = token_topk(hidden, weight, torch.zeros(300), None, 5)
    assert (values == 3).all()
    assert latents.tolist() == [[0, 1, 2, 3, 4]] * 2
