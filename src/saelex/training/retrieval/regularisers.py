"""What keeps vectors sparse: FLOPS and DF-FLOPS, over the rows of all ranks.

FLOPS is a square of a mean, so the mean of two half batches' terms is not the whole batch's term: with more ranks the
same lambda would push harder on each document. Sums and row counts are therefore added up over ranks before squaring.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from saelex.errors import InputError, MismatchError
from saelex.training.retrieval.activity import document_counts
from saelex.training.retrieval.ranks import mean_over_ranks, sum_over_ranks


def flops(weights: Tensor) -> Tensor:
    """sum_j (mean over the rows of all ranks of weights_j)^2; a scalar.

    Paria et al. 2020 (arXiv 2004.05665) eq. 4, as in SPLADE (arXiv 2107.05720) eq. 5: an upper bound, smooth in the
    weights, of the expected multiplications of two vectors.

    weights: [rows, latents], none negative: queries or documents of the whole batch, gradient caching's chunks put
    together. Ranks may hold different numbers of rows.
    """
    return mean_weights(weights).square().sum()


def df_flops(weights: Tensor, frequency: Tensor, alpha: float = 0.1, beta: float = 10.0) -> Tensor:
    """FLOPS in which latents of many documents cost more; a scalar.

    Porco et al. 2025 (arXiv 2505.15070): sum_j (w_j * mean of weights_j)^2 with w_j = `frequency_weights`. Accounts of
    the paper differ on whether w_j stands inside the square; here it does, so that at x = alpha a latent costs 1/4.

    weights: [rows, latents], none negative. frequency: [latents], share of the documents that have each latent.
    """
    costs = frequency_weights(frequency, alpha, beta).to(weights.device)
    return (costs * mean_weights(weights)).square().sum()


def frequency_weights(frequency: Tensor, alpha: float = 0.1, beta: float = 10.0) -> Tensor:
    """w = 1 / (1 + (x^(log_alpha 2) - 1)^beta), the cost of a latent in DF-FLOPS (arXiv 2505.15070).

    It is 0 at x = 0, 1/2 at x = alpha and 1 at x = 1.

    frequency: x, [latents], shares of the documents; no gradient flows into them. beta: steepness at alpha.
    Raises InputError unless alpha lies between 0 and 1 and beta is positive.
    """
    if not (0 < alpha < 1 and beta > 0):
        raise InputError(
            f"sparsity.df_alpha must lie between 0 and 1 and sparsity.df_beta above 0; they are {alpha:g} and {beta:g}"
        )
    powers = frequency.detach().clamp(0, 1) ** (math.log(2) / math.log(alpha))  # infinite at 0, where the cost is 0
    return 1 / (1 + (powers - 1).clamp(min=0) ** beta)


def mean_weights(weights: Tensor) -> Tensor:
    """Mean of each latent over the rows of all ranks, [latents], at least float32; weights: [rows, latents]."""
    dtype = torch.promote_types(weights.dtype, torch.float32)
    return mean_over_ranks(weights.sum(dim=0, dtype=dtype), len(weights))


class DocumentFrequencies:
    """Share of the recent documents that have each latent, over all ranks.

    The paper of DF-FLOPS counts in a validation set every 100 steps; here the documents that training sees anyway are
    counted: each update first lessens the older counts by documents / memory, so that a document's part in them falls
    by a factor e with every `memory` documents that follow.
    """

    def __init__(self, n_latents: int, memory: int = 10_000, device: torch.device | str = "cpu") -> None:
        """memory: documents; more make frequencies steadier, fewer let them follow the model faster."""
        self.memory = memory
        self.counts = torch.zeros(n_latents, device=device)
        self.documents = 0.0

    def update(self, weights: Tensor) -> None:
        """Count a step's documents; weights: [rows, latents], this rank's share of them."""
        rows = int(sum_over_ranks(torch.tensor(len(weights), device=weights.device)))
        kept = max(0.0, 1 - rows / self.memory)
        self.counts.mul_(kept).add_(document_counts(weights).to(self.counts.device))
        self.documents = self.documents * kept + rows

    def frequency(self) -> Tensor:
        """[latents], in [0, 1]; zeros before the first update."""
        return self.counts / max(self.documents, 1.0)

    def state_dict(self) -> dict[str, Any]:
        return {"counts": self.counts.cpu().clone(), "documents": self.documents}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises MismatchError where the state is of another number of latents."""
        if state["counts"].shape != self.counts.shape:
            raise MismatchError(
                f"document frequencies of {len(state['counts'])} latents do not fit a head of {len(self.counts)}; "
                "resume with the recipe that the checkpoint was written by"
            )
        self.counts.copy_(state["counts"])
        self.documents = float(state["documents"])
