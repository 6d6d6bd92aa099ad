"""Dense objectives: ReLU with an L1 penalty and JumpReLU with an L0 penalty. All latents are in every product."""
# mypy: disable-error-code="no-any-return,no-untyped-call"

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from saelex.sae.activations import Activation, JumpReLU, ReLU
from saelex.sae.training.objective import Now, Objective, Outcome, squared_error
from saelex.sae.training.settings import SaeTraining


class ReluObjective(Objective):
    """|x - x^|^2 + sparsity * rms * sum of latents (Bricken et al. 2023); decoder rows have length 1.

    rms is the states' root mean square distance from their mean: so the weight means the same at any scale.
    """

    def forward(self, states: Tensor, now: Now) -> Outcome:
        with torch.autocast(states.device.type, torch.bfloat16, enabled=now.bfloat16):
            product = (states - self.b_dec) @ self.W_enc
        values, penalty = self._latents(product.float() + self.b_enc)
        with torch.autocast(states.device.type, torch.bfloat16, enabled=now.bfloat16):
            decoded = values @ self.W_dec
        reconstruction = decoded.float() + self.b_dec
        error = squared_error(states, reconstruction)
        values = values.detach()
        return Outcome(
            loss=error + now.sparsity * penalty,
            parts={"loss": error.detach(), "penalty": penalty.detach(), "l0": (values > 0).sum() / len(values)},
            reconstruction=reconstruction.detach(),
            values=values,
            fired=(values > 0).any(dim=0),
        )

    def gate(self, scale: float) -> Activation:
        return ReLU()

    def _latents(self, pre: Tensor) -> tuple[Tensor, Tensor]:
        """Latents [tokens, n_latents] and the penalty per token, in squared units of the states."""
        latents = pre.relu()
        return latents, math.sqrt(self.variance) * latents.sum(dim=1).mean()


class JumpReluObjective(ReluObjective):
    """|x - x^|^2 + sparsity * variance * (latents that fire), with learned thresholds (Rajamanoharan et al. 2024).

    With the states scaled to variance 1 this is the paper's eq. 9. A threshold is the exponential of a parameter, so it
    stays positive; weight decay leaves that parameter alone, since it would pull the threshold towards 1.
    """

    def __init__(self, settings: SaeTraining, d_model: int, b_dec: Tensor, variance: float) -> None:
        super().__init__(settings, d_model, b_dec, variance)
        start = math.log(settings.initial_threshold * math.sqrt(variance))
        self.log_threshold = nn.Parameter(torch.full((settings.n_latents,), start))

    def gate(self, scale: float) -> Activation:
        return JumpReLU(self.log_threshold.detach().exp() * scale)

    def _latents(self, pre: Tensor) -> tuple[Tensor, Tensor]:
        bandwidth = self.settings.bandwidth * math.sqrt(self.variance)
        latents, l0 = jump_relu(pre, self.log_threshold.exp(), bandwidth)
        return latents, self.variance * l0.mean()


def jump_relu(pre: Tensor, threshold: Tensor, bandwidth: float) -> tuple[Tensor, Tensor]:
    """Pre-activations above their threshold, and how many those are per token.

    pre: [tokens, n_latents]; threshold: [n_latents], positive. Neither jump has a useful derivative; the threshold's is
    estimated by the pre-activations within half a bandwidth of it (the paper's eq. 11 and 12, rectangle kernel):
    d latent / d threshold = -threshold / bandwidth, d count / d threshold = -1 / bandwidth.
    """
    return _JumpRelu.apply(pre, threshold, bandwidth)


class _JumpRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        fires = pre > threshold
        return pre * fires, fires.sum(dim=1).to(pre.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, count_grad: Tensor) -> tuple[Tensor, Tensor, None]:
        pre, threshold = ctx.saved_tensors
        near = (pre - threshold).abs() < ctx.bandwidth / 2
        moved = (near * (threshold * grad + count_grad[:, None])).sum(dim=0)
        return grad * (pre > threshold), moved / -ctx.bandwidth, None
