"""Products with a batch of codes in plain PyTorch; a device's own file overrides what it does faster."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_GATHERED = 1 << 25  # floats gathered at once


class PrefixErrors(NamedTuple):
    """What `prefix_errors` gives: the error of every prefix of a token's latents, and its gradients."""

    error: Tensor  # scalar
    rest: Tensor  # [tokens, d]: what all k latents leave of the target
    grad_target: Tensor  # [tokens, d]
    grad_values: Tensor  # [tokens, k]
    grad_matrix: Tensor  # [n_latents, d]


class Spares:
    """Gradients [n_latents, d] that are not needed any more, to be written over on the CPU.

    Fresh memory of that size costs more than what a step writes into it, and it grows with the width, not with k.
    """

    def __init__(self) -> None:
        self._matrices: list[Tensor] = []

    def give(self, gradient: Tensor | None) -> None:
        """Hand over a gradient, whose only reference this must be; that of a transposed matrix may lie transposed."""
        if gradient is not None and gradient.is_cpu and len(self._matrices) < 2:  # encoder and decoder
            self._matrices.append(gradient if gradient.is_contiguous() else gradient.T)

    def take(self, rows: int, columns: int) -> Tensor:
        """Uninitialised memory [rows, columns], which autograd may keep: nobody else refers to it."""
        if self._matrices and self._matrices[-1].shape == (rows, columns):
            return self._matrices.pop()
        return torch.empty(rows, columns)


class CodeProducts:
    """Products with a batch of codes, on every device that has no file of its own.

    Codes are (values float32 [tokens, k], latents int32 [tokens, k]); a matrix of latents has a row per latent,
    [n_latents, d].
    """

    def mix_rows(self, values: Tensor, latents: Tensor, matrix: Tensor) -> Tensor:
        """Decode: out[t] = sum_j values[t, j] * matrix[latents[t, j]], [tokens, d]."""
        return torch.nn.functional.embedding_bag(latents.long(), matrix, per_sample_weights=values, mode="sum")

    def dot_rows(self, states: Tensor, latents: Tensor, matrix: Tensor) -> Tensor:
        """Sampled product: out[t, j] = states[t] . matrix[latents[t, j]], [tokens, k]."""
        tokens = max(1, _GATHERED // (latents.shape[1] * matrix.shape[1]))
        parts = [
            torch.einsum("td,tkd->tk", some, matrix[which.long()])
            for some, which in zip(states.split(tokens), latents.split(tokens))
        ]
        return torch.cat(parts)

    def dot_active_rows(self, values: Tensor, states: Tensor, latents: Tensor, matrix: Tensor) -> Tensor:
        """`dot_rows` where values [tokens, k] are not 0, and 0 elsewhere: padding costs next to nothing on a CPU."""
        return self.dot_rows(states, latents, matrix) * (values != 0)

    def gather_rows(
        self, values: Tensor, latents: Tensor, states: Tensor, n_latents: int, spares: Spares | None = None
    ) -> Tensor:
        """Transposed product: out[l] = sum of values[t, j] * states[t] where latents[t, j] = l, [n_latents, d]."""
        tokens = torch.arange(len(states), device=states.device).repeat_interleave(latents.shape[1])
        where = torch.stack([latents.flatten().long(), tokens])
        codes = torch.sparse_coo_tensor(where, values.flatten(), (n_latents, len(states)), check_invariants=False)
        gathered: Tensor = torch.sparse.mm(codes, states)
        return gathered

    def prefix_errors(self, target: Tensor, values: Tensor, latents: Tensor, matrix: Tensor) -> PrefixErrors:
        """Squared error of target [tokens, d] rebuilt from the first j of its k latents, averaged over j and tokens.

        With r_j = target - sum_{i <= j} v_i w_i, the error is E = mean_t (1/k) sum_j |r_j|^2. A latent i takes part in
        the prefixes from i on, so with s_i = sum_{j >= i} r_j its gradients are dE/dv_i = -2/(k tokens) w_i . s_i and
        dE/dw_i = -2/(k tokens) v_i s_i; dE/dtarget = 2/(k tokens) s_1.
        """
        error, rest, first, along, rows = self.prefix_sums(target, values, latents, matrix)
        factor = 1 / (latents.shape[1] * len(target))
        return PrefixErrors(error * factor, rest, first * (2 * factor), along * (-2 * factor), rows * (-2 * factor))

    def prefix_sums(
        self, target: Tensor, values: Tensor, latents: Tensor, matrix: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """sum |r_j|^2, r_k, s_1, w_i . s_i and the sum of v_i s_i per latent, by chunks of tokens that fit."""
        tokens = max(1, _GATHERED // (latents.shape[1] * matrix.shape[1]))
        rows = torch.zeros_like(matrix)
        error, parts = target.new_zeros(()), []
        for some, weights, which in zip(target.split(tokens), values.split(tokens), latents.long().split(tokens)):
            gathered = matrix[which]  # [chunk, k, d]
            rests = some[:, None] - (weights[:, :, None] * gathered).cumsum(dim=1)
            error += rests.pow(2).sum()
            sums = rests.flip(1).cumsum(dim=1).flip(1)
            rows.index_add_(0, which.flatten(), (weights[:, :, None] * sums).flatten(0, 1))
            parts.append((rests[:, -1], sums[:, 0], (gathered * sums).sum(dim=2)))
        rest, first, along = (torch.cat(part) for part in zip(*parts))
        return error, rest, first, along, rows


def sum_values(values: Tensor, latents: Tensor, n_latents: int) -> Tensor:
    """out[l] = sum of values[t, j] where latents[t, j] = l, [n_latents]."""
    return torch.zeros(n_latents, device=values.device).index_add_(0, latents.flatten().long(), values.flatten())
