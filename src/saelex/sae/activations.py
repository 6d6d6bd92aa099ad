"""The gates of a sparse autoencoder: what turns pre-activations into latents.

The SAE uses them and so does the retrieval head, which applies the same gate to the same pre-activations.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from saelex.errors import InputError
from saelex.selection import top_k_rows


class ReLU(nn.Module):
    """max(pre, 0): the standard SAE."""

    def forward(self, pre: Tensor) -> Tensor:
        """[..., n_latents] -> [..., n_latents]"""
        return torch.relu(pre)


class JumpReLU(nn.Module):
    """The pre-activation itself where it exceeds its latent's threshold, else 0 (Rajamanoharan et al. 2024, eq. 2).

    The comparison is strict, the threshold is not subtracted, and a negative pre-activation never passes.
    threshold: float32 [n_latents] or [1] (one for all); it stays float32 whatever the dtype of the weights, because
    rounding it to bfloat16 moves the boundary by up to 0.4%.

    It has no gradient with respect to the threshold.
    """

    threshold: Tensor

    def __init__(self, threshold: Tensor) -> None:
        super().__init__()
        if threshold.ndim != 1:
            raise InputError(f"a JumpReLU threshold has the shape [n_latents] or [1], not {list(threshold.shape)}")
        self.register_buffer("threshold", threshold.detach().float().clone())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> JumpReLU:
        exact = self.threshold
        super()._apply(fn, recurse)
        self.threshold = exact.to(self.threshold.device)  # follows the module's device, not its dtype
        return self

    def forward(self, pre: Tensor) -> Tensor:
        """[..., n_latents] -> [..., n_latents]"""
        return torch.where(pre <= self.threshold.clamp_min(0), torch.zeros_like(pre), pre)  # NaN stays, and shows

    def extra_repr(self) -> str:
        return f"n_thresholds={len(self.threshold)}"


class TopK(nn.Module):
    """The k largest pre-activations of each token, then ReLU (Gao et al. 2024, eq. 4; SAE-SPLADE).

    Ties: see `saelex.selection`. Fewer than k latents fire where fewer are positive.
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        if k < 1:
            raise InputError(f"a TopK gate keeps at least one latent per token, not k={k}")
        self.k = k

    def forward(self, pre: Tensor) -> Tensor:
        """[..., n_latents] -> [..., n_latents]"""
        if pre.shape[-1] <= self.k:
            return torch.relu(pre)
        rows = pre.reshape(-1, pre.shape[-1])  # [tokens, n_latents]
        _, latents = top_k_rows(rows.detach(), self.k)
        latents = latents.long()
        kept = torch.relu(rows.gather(1, latents))  # [tokens, k]
        return torch.zeros_like(rows).scatter(1, latents, kept).reshape(pre.shape)

    def extra_repr(self) -> str:
        return f"k={self.k}"


Activation = ReLU | JumpReLU | TopK
