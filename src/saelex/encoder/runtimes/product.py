"""Products of token states with weights, as OpenBLAS is quickest at them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_FEW = 32  # tokens, for which OpenBLAS packs less the other way round


def product(states: Array, weight: Array) -> Array:
    """states [tokens, d_in] @ weight.T [d_in, d_out], contiguous."""
    if len(states) < _FEW:
        return np.ascontiguousarray((weight @ states.T).T)
    together: Array = states @ weight.T
    return together
