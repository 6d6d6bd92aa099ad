"""What changes over the steps of a run: the learning rate, and the weight of the sparsity penalty."""

from __future__ import annotations

import math

from saelex.sae.training.settings import SaeTraining


def learning_rate(settings: SaeTraining, step: int) -> float:
    """Learning rate of a step (from 0), in units of the peak: linear warm-up, constant, then the schedule's fall."""
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    decay_steps = settings.decay_share * settings.steps
    if settings.schedule == "constant" or not decay_steps:
        return warm
    left = (settings.steps - step) / decay_steps
    if settings.schedule == "cosine":
        left = (1 - math.cos(math.pi * min(1.0, left))) / 2
    return min(warm, left)


def sparsity(settings: SaeTraining, step: int) -> float:
    """Weight of the sparsity penalty at a step (from 0): a linear rise, then constant."""
    return settings.sparsity * min(1.0, (step + 1) / max(1, settings.sparsity_warmup_steps))
