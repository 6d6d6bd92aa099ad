"""TopK objectives: k latents per token, exactly or on average, whole, nested or by prefixes, with AuxK."""

from __future__ import annotations

import torch
from torch import Tensor

from saelex.sae.activations import Activation, JumpReLU, TopK
from saelex.sae.products import Spares, sum_values
from saelex.sae.topk_function import Codes, decode_topk, encode_topk, hierarchical_error
from saelex.sae.training.objective import Now, Objective, Outcome, squared_error
from saelex.sae.training.settings import SaeTraining

_MEMORY = 0.01  # weight of the newest batch in the running threshold: it looks back over some hundred steps


class TopKObjective(Objective):
    """The k largest latents of each token (Gao et al. 2024; SAE-SPLADE), with AuxK for dead ones.

    With `widths`, the error is the mean over the nested SAEs that have only the latents below each width (Matryoshka,
    Bussmann et al. 2025; SAE-SPLADE's MTopK).
    """

    over_batch = False

    def __init__(self, settings: SaeTraining, d_model: int, b_dec: Tensor, variance: float) -> None:
        super().__init__(settings, d_model, b_dec, variance)
        self.spares = Spares()

    def drop_gradients(self) -> None:
        for matrix in (self.W_enc, self.W_dec):
            gradient, matrix.grad = matrix.grad, None
            self.spares.give(gradient)
        super().drop_gradients()

    def forward(self, states: Tensor, now: Now) -> Outcome:
        codes = encode_topk(
            states,
            self.b_dec,
            self.W_enc,
            self.b_enc,
            self.settings.k,
            over_batch=self.over_batch,
            dead=now.dead,
            aux_k=self.settings.aux_k or 2 * self.settings.k,
            bfloat16=now.bfloat16,
            spares=self.spares,
        )
        error, reconstruction = self._reconstruct(states, codes)
        aux = torch.zeros((), device=states.device)
        if codes.dead_latents.shape[1]:
            rebuilt = decode_topk(codes.dead_values, codes.dead_latents, self.W_dec)
            aux = squared_error(states - reconstruction.detach(), rebuilt)
        values = codes.values.detach()
        return Outcome(
            loss=error + self.settings.aux_coefficient * aux,
            parts={"loss": error.detach(), "aux_loss": aux.detach(), **self._noted(values)},
            reconstruction=reconstruction.detach(),
            values=values,
            fired=sum_values((values > 0).float(), codes.latents, self.settings.n_latents) > 0,
        )

    def gate(self, scale: float) -> Activation:
        return TopK(self.settings.k)

    def _reconstruct(self, states: Tensor, codes: Codes) -> tuple[Tensor, Tensor]:
        """The error with its gradient, and the reconstruction [tokens, d_model] by all active latents."""
        if self.settings.widths:
            return nested_error(states, codes, self.W_dec, self.b_dec, self.settings.widths)
        reconstruction = decode_topk(codes.values, codes.latents, self.W_dec, self.spares) + self.b_dec
        return squared_error(states, reconstruction), reconstruction

    def _noted(self, values: Tensor) -> dict[str, Tensor]:
        return {}


class BatchTopKObjective(TopKObjective):
    """The k * tokens largest latents of a batch (Bussmann et al. 2024), so that hard tokens may have more than k.

    The batch's smallest active latent, averaged over the last steps, is the finished SAE's threshold: a token must not
    depend on those it is encoded with.
    """

    over_batch = True
    threshold: Tensor

    def __init__(self, settings: SaeTraining, d_model: int, b_dec: Tensor, variance: float) -> None:
        super().__init__(settings, d_model, b_dec, variance)
        self.register_buffer("threshold", torch.zeros(()))

    def gate(self, scale: float) -> Activation:
        return JumpReLU((self.threshold * scale).expand(self.settings.n_latents))

    def observe(self, parts: dict[str, Tensor], step: int) -> None:
        moved = self.threshold.lerp(parts["threshold"], max(1 / (step + 1), _MEMORY))
        self.threshold.copy_(torch.where(parts["threshold"] > 0, moved, self.threshold))

    def _noted(self, values: Tensor) -> dict[str, Tensor]:
        smallest = torch.where(values > 0, values, torch.inf).amin()
        return {"threshold": torch.where(smallest.isfinite(), smallest, 0.0)}


class HierarchicalTopKObjective(TopKObjective):
    """The k largest latents of each token; the error is the mean over its first 1, 2, ..., k (SAE-SPLADE's HTopK)."""

    def _reconstruct(self, states: Tensor, codes: Codes) -> tuple[Tensor, Tensor]:
        error, rest = hierarchical_error(states - self.b_dec, codes.values, codes.latents, self.W_dec)
        return error, states - rest


def nested_error(
    states: Tensor, codes: Codes, W_dec: Tensor, b_dec: Tensor, widths: list[int]
) -> tuple[Tensor, Tensor]:
    """Mean squared error over the reconstructions by latents below each width, and the last one [tokens, d_model]."""
    ends = torch.tensor(widths, device=states.device)
    band = torch.bucketize(codes.latents, ends, right=True)  # [tokens, k]: the first width that has the latent
    bands = torch.arange(len(widths), device=states.device)[:, None, None]
    # one decoding of len(widths) * tokens rows; a latent's value is 0 outside its own band
    values = torch.where(band == bands, codes.values, 0.0).flatten(0, 1)
    parts = decode_topk(values, codes.latents.repeat(len(widths), 1), W_dec)
    nested = parts.view(len(widths), *states.shape).cumsum(dim=0) + b_dec  # [widths, tokens, d_model]
    return squared_error(states.repeat(len(widths), 1), nested.flatten(0, 1)), nested[-1]
