"""Which latents a batch of texts uses, over all ranks."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from saelex.training.retrieval.ranks import sum_over_ranks

_ROWS = 64  # rows compared with zero at once, so that no bool copy of the whole batch is made


class Activity(NamedTuple):
    """Which latents a batch of texts uses, over all ranks."""

    rows: int
    """Texts."""
    latents: int
    """Of the head."""
    active: float
    """Active latents of a text, mean."""
    empty: float
    """Share of the texts without any."""
    distinct: int
    """Latents that are active in some text."""
    in_use: float
    """Their effective number, exp(entropy) of the latents' shares of all activations; 0 without any."""
    most_common: float
    """Share of the texts that have the most common latent."""


def measure(weights: Tensor) -> Activity:
    """Activity of the rows of all ranks; weights: [rows, latents], none negative."""
    rows = weights.detach()
    empty = (rows.amax(dim=1) <= 0).sum() if len(rows) else torch.tensor(0, device=rows.device)
    n_rows, n_empty = sum_over_ranks(torch.stack([torch.tensor(len(rows), device=rows.device), empty])).tolist()
    counts = document_counts(rows)  # [latents]
    total = int(counts.sum())
    shares = counts.double().cpu() / max(total, 1)
    return Activity(
        rows=n_rows,
        latents=len(counts),
        active=total / max(n_rows, 1),
        empty=n_empty / max(n_rows, 1),
        distinct=int((counts > 0).sum()),
        in_use=math.exp(float(torch.special.entr(shares).sum())) if total else 0.0,
        most_common=int(counts.max()) / max(n_rows, 1),
    )


def document_counts(weights: Tensor) -> Tensor:
    """In how many rows of all ranks each latent is active; int64 [latents]; weights: [rows, latents]."""
    counts = torch.zeros(weights.shape[1], dtype=torch.int64, device=weights.device)
    for rows in weights.detach().split(_ROWS):
        counts += (rows > 0).sum(dim=0)
    return sum_over_ranks(counts)
