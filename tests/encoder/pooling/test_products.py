import pytest
import torch

from saelex.encoder.pooling import products
from saelex.encoder.pooling.products import latent_blocks


@pytest.mark.parametrize("tokens", [1, 3, 200])
def test_half_precision_weights_are_widened_a_few_latents_at_a_time(monkeypatch, tokens):
    """However few the tokens: a query must not widen a head of some gigabytes."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, 512, generator=generator)
    weight = torch.randn(20_000, 512, generator=generator).bfloat16()
    widened = []

    def linear(inputs, rows):
        assert rows.dtype == torch.float32
        widened.append(rows.numel())
        return inputs @ rows.T

    monkeypatch.setattr(products, "linear", linear)
    blocks = list(latent_blocks(hidden, weight))
    assert max(widened) <= 2**22
    assert sum(widened) == weight.numel()
    assert [start for start, _, _ in blocks] == [0, *(stop for _, stop, _ in blocks)][:-1]
    product = torch.cat([block for _, _, block in blocks], dim=1)
    torch.testing.assert_close(product, hidden @ weight.float().T, rtol=1e-4, atol=1e-4)
