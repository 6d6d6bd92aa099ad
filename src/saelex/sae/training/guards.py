"""What stops a run that cannot come to anything, with what was seen and what to change."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from saelex.errors import InputError
from saelex.sae.training.settings import SaeTraining

_SILENT_STEPS = 50  # steps without any active latent
_DENSE_STEPS = 500  # steps, after the penalty's warm-up, with more than half of the latents active


@dataclass
class Counts:
    """Steps in a row."""

    silent: int = 0
    dense: int = 0


class Guards:
    """Checks of a run's steps (from 0); each raises InputError with one line."""

    def __init__(self, settings: SaeTraining) -> None:
        self.settings = settings
        self.counts = Counts()

    def check_loss(self, step: int, loss: Tensor, batch: Tensor) -> None:
        """loss: the step's, a scalar; batch: the states that gave it."""
        value = float(loss)
        if math.isfinite(value):
            return
        if not bool(torch.isfinite(batch).all()):
            raise InputError(
                f"step {step + 1}: the token states hold NaN or infinity; run the backbone in float32 or bfloat16"
            )
        raise InputError(
            f"step {step + 1}: the loss is {value}; lower learning_rate "
            f"(now {self.settings.learning_rate:g}) or raise warmup_steps"
        )

    def check_silence(self, step: int, fired: bool) -> None:
        """fired: whether any latent has fired in this step."""
        self.counts.silent = 0 if fired else self.counts.silent + 1
        if self.counts.silent < _SILENT_STEPS:
            return
        cure = "raise warmup_steps, or set centre and normalise_input to true"
        if not self.settings.sparse:
            cure = f"lower sparsity (now {self.settings.sparsity:g}), or raise sparsity_warmup_steps"
        raise InputError(
            f"step {step + 1}: no latent has fired for {_SILENT_STEPS} steps; lower learning_rate "
            f"(now {self.settings.learning_rate:g}), {cure}"
        )

    def check_density(self, step: int, active: float) -> None:
        """active: latents that fire per token, mean."""
        dense = active > self.settings.n_latents / 2 and step >= self.settings.sparsity_warmup_steps
        self.counts.dense = self.counts.dense + 1 if dense else 0
        if self.counts.dense >= _DENSE_STEPS:
            raise InputError(
                f"step {step + 1}: {active:.0f} of {self.settings.n_latents} latents have fired on the average token "
                f"for {_DENSE_STEPS} steps; raise sparsity (now {self.settings.sparsity:g})"
            )
