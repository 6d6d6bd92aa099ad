"""What is estimated once about the states, before the first step."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from saelex.errors import InputError
from saelex.sae.training.buffer import StateSource

_TOKENS = 65_536


class Statistics(NamedTuple):
    """Of the states as they come: mean [d_model], mean distance from it, and mean squared distance from it."""

    mean: Tensor
    distance: float
    variance: float


def estimate(source: StateSource) -> Statistics:
    """From the first 65,536 states. Raises InputError where there are none, or none that can be learned from."""
    parts, count = [], 0
    for part in source.chunks(0, 0):
        parts.append(part.float())
        count += len(part)
        if count >= _TOKENS:
            break
    if count == 0:
        raise InputError("the source of token states is empty; check that the texts are read")
    states = torch.cat(parts)
    if not bool(torch.isfinite(states).all()):
        raise InputError("the token states hold NaN or infinity; run the backbone in float32 or bfloat16")
    mean = states.mean(dim=0)
    distance = (states - mean).norm(dim=1)
    variance = float(distance.pow(2).mean())
    if variance == 0:
        raise InputError("all token states are equal; there is nothing to learn from them")
    return Statistics(mean, float(distance.mean()), variance)
