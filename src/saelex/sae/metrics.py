"""How well an SAE reconstructs, and with how much."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Reconstruction(NamedTuple):
    """Quality of a batch's reconstruction."""

    fvu: float
    """Fraction of variance unexplained: squared error over squared distance from the batch's mean (0 is perfect)."""
    l0: float
    """Active latents per token, mean."""
    cosine: float
    """Cosine of state and reconstruction, mean over tokens."""


def reconstruction_metrics(states: Tensor, reconstruction: Tensor, latents: Tensor) -> Reconstruction:
    """Metrics of one batch: states and reconstruction [tokens, d_model], latents [tokens, any] (codes or dense)."""
    error = (states - reconstruction).pow(2).sum()
    spread = (states - states.mean(dim=0)).pow(2).sum()
    return Reconstruction(
        fvu=float(error / spread),
        l0=float((latents > 0).sum() / len(states)),
        cosine=float(torch.cosine_similarity(states, reconstruction, dim=1).mean()),
    )


def dead_share(tokens_since_fired: Tensor, dead_after_tokens: int) -> float:
    """Share of latents [n_latents] that have not fired for `dead_after_tokens` tokens."""
    return float((tokens_since_fired >= dead_after_tokens).float().mean())
