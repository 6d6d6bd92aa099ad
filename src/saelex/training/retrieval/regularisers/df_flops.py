"""DF-FLOPS: FLOPS in which latents of many documents cost more, so that postings get shorter (arXiv 2505.15070)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from saelex.errors import InputError, MismatchError
from saelex.training.retrieval.activity import document_counts
from saelex.training.retrieval.checks import positive
from saelex.training.retrieval.ranks import sum_over_ranks
from saelex.training.retrieval.regularisers.flops import mean_weights
from saelex.training.retrieval.regularisers.regulariser import Regulariser


@dataclass
class DfFlops(Regulariser):
    """`df_flops` of each side, by the frequencies of the documents that training has seen."""

    name = "df_flops"
    title = "DF-FLOPS"
    meaning = "flops, frequent latents costing more (arXiv 2505.15070)"

    df_alpha: float = 0.1
    """DF-FLOPS: document frequency at which the weight is one half."""
    df_beta: float = 10.0
    """DF-FLOPS: steepness there."""

    def begin(self, n_latents: int) -> None:
        """No document seen yet."""
        self._frequencies = DocumentFrequencies(n_latents)

    def update(self, documents: Tensor) -> None:
        """Count the step's documents."""
        self._frequencies.update(documents)

    def value(self, weights: Tensor) -> Tensor:
        """`df_flops`."""
        return df_flops(weights, self._frequencies.frequency(), self.df_alpha, self.df_beta)

    def check(self) -> None:
        """Raises InputError for a curve that is none."""
        positive(self, "sparsity", "df_beta")
        if not 0 < self.df_alpha < 1:
            raise InputError(f"sparsity.df_alpha is a share of the documents, between 0 and 1, not {self.df_alpha}")

    def state_dict(self) -> dict[str, Any]:
        """That of the frequencies."""
        return self._frequencies.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises MismatchError where the state is of another number of latents."""
        self._frequencies.load_state_dict(state)


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
