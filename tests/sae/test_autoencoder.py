from __future__ import annotations

import torch

from saelex.sae.activations import Activation, JumpReLU, TopK
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.config import SaeConfig


def sae(activation: Activation, **config: str | int) -> SparseAutoencoder:
    weights = (torch.zeros(4, 8), torch.zeros(8), torch.zeros(8, 4), torch.zeros(4))
    return SparseAutoencoder(*weights, activation, SaeConfig(4, 8, **config))  # type: ignore[arg-type]


def test_repr_tells_shape_gate_and_place() -> None:
    whole = sae(TopK(2), model_name="owner/model", layer=3).to(torch.bfloat16)
    assert repr(whole) == "SparseAutoencoder(4 -> 8, TopK(k=2), bfloat16, blocks.3.hook_resid_post of owner/model)"
    assert repr(sae(JumpReLU(torch.ones(8)))) == "SparseAutoencoder(4 -> 8, JumpReLU(n_thresholds=8), float32)"
