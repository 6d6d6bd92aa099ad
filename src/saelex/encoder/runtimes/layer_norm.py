"""Layer norm on arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def layer_norm(states: Array, weight: Array, bias: Array | None, eps: float) -> Array:
    """(x - mean) / sqrt(variance + eps) * weight + bias of each row, in place; returns the states."""
    states -= states.mean(axis=-1, keepdims=True)
    variance = np.einsum("td,td->t", states, states) / np.float32(states.shape[-1])
    states *= (1 / np.sqrt(variance + np.float32(eps)))[:, None]
    states *= weight
    if bias is not None:
        states += bias
    return states
