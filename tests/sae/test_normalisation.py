"""Norms of a token's state, against their definitions in numpy."""

import numpy as np
import pytest
import torch

from saelex.errors import InputError
from saelex.sae.normalisation import TokenNorm


def states():
    return torch.randn(5, 12, generator=torch.Generator().manual_seed(0)) * 3 + 1


def test_layer_norm_is_saelens_own():
    x = states().double().numpy()
    expected = (x - x.mean(1, keepdims=True)) / (x.std(1, ddof=1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(TokenNorm("layer_norm")(states()), expected, rtol=1e-5, atol=1e-6)


def test_constant_norm_gives_every_token_the_length_sqrt_d():
    normalised = TokenNorm("constant_norm")(states())
    torch.testing.assert_close(normalised.norm(dim=1), torch.full((5,), 12**0.5))
    torch.testing.assert_close(torch.cosine_similarity(normalised, states()), torch.ones(5))


@pytest.mark.parametrize("kind", ["layer_norm", "constant_norm"])
def test_restoring_undoes_the_norm(kind):
    norm = TokenNorm(kind)
    torch.testing.assert_close(norm.restore(norm(states()), states()), states(), rtol=1e-4, atol=1e-4)


def test_unknown_norms_are_refused():
    with pytest.raises(InputError, match="layer_norm"):
        TokenNorm("batch_norm")
