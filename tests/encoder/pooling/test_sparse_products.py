from __future__ import annotations

import pytest
import torch

from saelex.encoder.pooling import sparse_products
from saelex.encoder.pooling.sparse_products import Entries, hidden_gradient, weight_gradient


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_they_are_products_with_the_dense_gradient(dtype, monkeypatch):
    monkeypatch.setattr(sparse_products, "_ENTRIES_AT_A_TIME", 7)
    torch.manual_seed(0)
    hidden, weight = torch.randn(11, 8).to(dtype), torch.randn(30, 8).to(dtype)
    wide = torch.promote_types(dtype, torch.float32)
    entries = Entries(torch.randint(11, (50,)), torch.randint(30, (50,)), torch.randn(50, dtype=wide))
    dense = torch.zeros(11, 30, dtype=wide).index_put(
        (entries.tokens, entries.latents), entries.values, accumulate=True
    )
    for found, expected in (
        (hidden_gradient(entries, hidden, weight), dense @ weight.to(wide)),
        (weight_gradient(entries, hidden, weight), dense.t() @ hidden.to(wide)),
    ):
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected.to(dtype))
