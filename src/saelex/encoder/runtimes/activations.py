"""The activations of `saelex.encoder.backbone.bert.ACTIVATIONS` on arrays, in place."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saelex.compiling import loops
from saelex.encoder import plain_kernels
from saelex.encoder.backbone.bert_settings import named_activation

Array = NDArray[Any]

_FEW = 1 << 19  # numbers


def _gelu(values: Array) -> None:
    loops(plain_kernels, "saelex.encoder.kernels", much=values.size > _FEW).gelu(values.reshape(-1))


def _gelu_by_tanh(values: Array) -> None:
    inner = values * values
    inner *= np.float32(0.044715)
    inner += np.float32(1)
    inner *= values
    inner *= np.float32(math.sqrt(2 / math.pi))
    np.tanh(inner, out=inner)
    inner += np.float32(1)
    values *= inner
    values *= np.float32(0.5)


def _relu(values: Array) -> None:
    np.maximum(values, 0, out=values)


def _silu(values: Array) -> None:
    with np.errstate(over="ignore"):  # exp of what is far below zero: the quotient is 0 all the same
        values /= np.exp(-values) + np.float32(1)


ACTIVATIONS: Mapping[str, Callable[[Array], None]] = {
    "gelu": _gelu,
    "gelu_new": _gelu_by_tanh,
    "gelu_pytorch_tanh": _gelu_by_tanh,
    "relu": _relu,
    "silu": _silu,
    "swish": _silu,
}


def activation_named(name: str) -> Callable[[Array], None]:
    """The activation of a config's `hidden_act`; InputError for a name that is not in ACTIVATIONS."""
    return named_activation(ACTIVATIONS, name)
