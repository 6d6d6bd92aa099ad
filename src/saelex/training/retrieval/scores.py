"""Scores as losses take them: in any floating dtype, at least float32 from here on."""

from __future__ import annotations

import torch
from torch import Tensor


def log_softmax(scores: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """Over the columns that exist; 0 in the others, so that no infinity meets a zero; [queries, passages]."""
    scores = exact(scores).masked_fill(~mask, -torch.inf) / temperature
    return scores.log_softmax(dim=1).masked_fill(~mask, 0)


def exact(tensor: Tensor) -> Tensor:
    """As float64, or else as float32."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
