"""Reconstruction beside retrieval: SAE-SPLADE's ablation of joint training against two stages (arXiv 2604.21511).

The term is the fraction of variance unexplained of the hidden states that the texts pool: the sum of ||x - x^||^2 over
that of ||x - mean(x)||^2, with x^ = relu(TopK(head(x))) W_dec + b_dec. The encoder side is the retrieval head itself,
whose parameters get both gradients; the decoder exists while training, and is no part of the saved encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from saelex.errors import InputError
from saelex.training.retrieval import ranks
from saelex.training.retrieval.checks import TOPK_GATES, published_gate
from saelex.training.retrieval.losses.loss import Loss, Scored, Setup

if TYPE_CHECKING:
    from saelex.training.retrieval.decoder import Reconstruction


@dataclass
class ReconstructionError(Loss):
    """`unexplained` of a batch's tokens."""

    name = "reconstruction"
    title = "reconstruction error"
    ranks_passages = False
    needs_decoder = True

    reconstruction: float = 0.0
    """Weight of the SAE's reconstruction error, as the fraction of variance unexplained, beside the retrieval loss. 0:
    two stages, as in the papers. Only with a TopK head of an SAE or a random one, in one part (accumulation_steps)."""

    def value(self, step: Scored) -> Tensor:
        """Over the pooled tokens of queries and passages."""
        assert step.reconstruction is not None
        return unexplained(step.reconstruction)

    def check(self, setup: Setup) -> None:
        """It needs a decoder and TopK, and the tokens of a whole batch at once."""
        model = setup.model
        if model.encoder:
            raise InputError("loss.reconstruction needs a decoder, which model.encoder has not; start from model.sae")
        if model.head == "vocabulary":
            raise InputError("loss.reconstruction is for SAE and random heads; a vocabulary has no decoder")
        if model.head == "random" and model.token_k is None:
            raise InputError("loss.reconstruction needs a TopK gate: set model.token_k for a random head")
        if (gate := published_gate(model)) not in (None, *TOPK_GATES):
            raise InputError(f"loss.reconstruction is for TopK SAEs; the gate of {model.sae} is {gate}")
        if (parts := setup.training.accumulation_steps) > 1:
            raise InputError(
                f"loss.reconstruction is of a batch's tokens, which training.accumulation_steps={parts} does not keep; "
                "set that to 1, with a smaller training.batch_queries if need be"
            )


def unexplained(found: Reconstruction) -> Tensor:
    """Fraction of variance unexplained over the tokens of all processes; the same number on each."""
    mean = ranks.mean_over_ranks(found.total, found.tokens)  # [d_model]
    own = found.total / found.tokens.clamp(min=1)
    spread = ranks.sum_over_ranks(found.spread + found.tokens * (own - mean).square().sum())
    return ranks.sum_over_ranks(found.error) / spread.clamp(min=torch.finfo(spread.dtype).tiny)
