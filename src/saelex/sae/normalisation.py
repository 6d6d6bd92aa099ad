"""Norms that some SAEs apply to each token's state before they read it."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from saelex.errors import InputError

Kind = Literal["layer_norm", "constant_norm"]

_EPS = 1e-5  # SAELens' own, in `layer_norm` alone


class TokenNorm(nn.Module):
    """(x - offset) / spread, both taken from the token itself, [..., d_model] -> [..., d_model].

    kind: "layer_norm": the mean over dimensions, and the unbiased standard deviation plus 1e-5; "constant_norm": no
        offset, and |x| / sqrt(d_model). As in SAELens' `normalize_activations` and OpenMOSS' "token-wise".
    """

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        if kind not in get_args(Kind):
            raise InputError(f"the norm of a token is one of {', '.join(get_args(Kind))}, not {kind!r}")
        self.kind: Kind = kind

    def forward(self, states: Tensor) -> Tensor:
        offset, spread = self.statistics(states)
        if self.kind == "layer_norm":
            spread = spread + _EPS
        return (states - offset) / spread

    def restore(self, normalised: Tensor, states: Tensor) -> Tensor:
        """What the normalised states stand for, beside the states [..., d_model] that gave the statistics."""
        offset, spread = self.statistics(states)
        return normalised * spread + offset

    def statistics(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Offset and spread of each token, both [..., 1]."""
        if self.kind == "layer_norm":
            return states.mean(dim=-1, keepdim=True), states.std(dim=-1, keepdim=True)
        length = states.norm(dim=-1, keepdim=True)
        return torch.zeros_like(length), length / states.shape[-1] ** 0.5

    def extra_repr(self) -> str:
        return self.kind
