"""The SAE while it is trained: its weights, and what a batch of states costs. A subclass for each kind of gate."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from saelex.sae.activations import Activation
from saelex.sae.training.settings import SaeTraining


class Now(NamedTuple):
    """What an objective is told about the step."""

    dead: Tensor | None
    """int64 ids of dead latents, where there are any to be revived."""
    sparsity: float
    """Weight of the sparsity penalty."""
    bfloat16: bool


class Outcome(NamedTuple):
    """What a batch of states comes to."""

    loss: Tensor
    """Scalar with a gradient: reconstruction, auxiliary loss and penalty."""
    parts: dict[str, Tensor]
    """Scalars without one; they are averaged over micro-batches and processes."""
    reconstruction: Tensor
    """[tokens, d_model], without gradient."""
    values: Tensor
    """Active latents without gradient, [tokens, any]; which ones they are is left out."""
    fired: Tensor
    """bool [n_latents]"""


class Objective(nn.Module):
    """x^ = gate((x - b_dec) W_enc + b_enc) W_dec + b_dec, and its loss.

    W_enc: [d_model, n_latents], its transpose contiguous, as the sparse backward wants it; b_enc: [n_latents];
    W_dec: [n_latents, d_model], rows of length 1; b_dec: [d_model]. The start is SAE-SPLADE's: Kaiming-uniform encoder,
    its normalised transpose as decoder, zero b_enc.
    variance: mean squared distance of the states, as the objective gets them, from their mean.
    """

    def __init__(self, settings: SaeTraining, d_model: int, b_dec: Tensor, variance: float) -> None:
        super().__init__()
        self.settings = settings
        self.variance = variance
        generator = torch.Generator().manual_seed(settings.seed)
        rows = torch.empty(settings.n_latents, d_model)
        # torch's default for a linear layer (a = sqrt 5) over the fan-out, which for [d_model, n_latents] is d_model
        torch.nn.init.uniform_(rows, -1 / math.sqrt(d_model), 1 / math.sqrt(d_model), generator=generator)
        self.W_enc = nn.Parameter(rows.T)
        self.b_enc = nn.Parameter(torch.zeros(settings.n_latents))
        self.W_dec = nn.Parameter(torch.nn.functional.normalize(rows, dim=1))
        self.b_dec = nn.Parameter(b_dec.clone())

    def forward(self, states: Tensor, now: Now) -> Outcome:
        """states: float32 [tokens, d_model]."""
        raise NotImplementedError

    def gate(self, scale: float) -> Activation:
        """The gate of the finished SAE, for states that are `scale` times as large as those trained on."""
        raise NotImplementedError

    def drop_gradients(self) -> None:
        """Forget the gradients of a step."""
        for parameter in self.parameters():
            parameter.grad = None

    def observe(self, parts: dict[str, Tensor], step: int) -> None:
        """Take note of a step's averaged parts; step counts from 0."""


def squared_error(states: Tensor, reconstruction: Tensor) -> Tensor:
    """Squared error, summed over dimensions and averaged over tokens: [tokens, d_model] -> scalar."""
    return (states - reconstruction).pow(2).sum(dim=1).mean()
