"""FLOPS: the expected multiplications of two vectors, over the rows of all ranks.

It is a square of a mean, so the mean of two half batches' terms is not the whole batch's term: with more ranks the
same lambda would push harder on each document. Sums and row counts are therefore added up over ranks before squaring.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from saelex.training.retrieval.ranks import mean_over_ranks
from saelex.training.retrieval.regularisers.regulariser import Regulariser


@dataclass
class Flops(Regulariser):
    """`flops` of each side."""

    name = "flops"
    title = "FLOPS"
    meaning = "sum over latents of the squared mean weight"

    def value(self, weights: Tensor) -> Tensor:
        """`flops`."""
        return flops(weights)


def flops(weights: Tensor) -> Tensor:
    """sum_j (mean over the rows of all ranks of weights_j)^2; a scalar.

    Paria et al. 2020 (arXiv 2004.05665) eq. 4, as in SPLADE (arXiv 2107.05720) eq. 5: an upper bound, smooth in the
    weights, of the expected multiplications of two vectors.

    weights: [rows, latents], none negative: queries or documents of the whole batch, gradient caching's chunks put
    together. Ranks may hold different numbers of rows.
    """
    return mean_weights(weights).square().sum()


def mean_weights(weights: Tensor) -> Tensor:
    """Mean of each latent over the rows of all ranks, [latents], at least float32; weights: [rows, latents]."""
    dtype = torch.promote_types(weights.dtype, torch.float32)
    return mean_over_ranks(weights.sum(dim=0, dtype=dtype), len(weights))
