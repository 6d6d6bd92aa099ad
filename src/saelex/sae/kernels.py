"""Products with the few active latents of each token: what makes a TopK SAE's cost follow k and not the width.

A batch of codes is (values [tokens, k], latents [tokens, k]); a matrix of latents has a row per latent, [n_latents, d].
Each operation has a numba kernel for the CPU and a form in plain torch for other devices, equal up to rounding. Kernels
share work by whole output rows, so that results do not depend on the order in which threads finish.
"""
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_GATHERED = 1 << 25  # floats that the torch form may gather at once
_COLUMNS = 128  # dimensions that a thread of _prefix_sums works on: k rests of so many floats stay in the cache
_FAST = {"reassoc", "contract", "nsz"}  # lets LLVM vectorise a dot product; NaN and infinity keep their meaning


def mix_rows(values: Tensor, latents: Tensor, matrix: Tensor) -> Tensor:
    """Decode: out[t] = sum_j values[t, j] * matrix[latents[t, j]], [tokens, d]."""
    if matrix.device.type != "cpu":
        return mix_rows_torch(values, latents, matrix)
    out = torch.empty(len(values), matrix.shape[1])
    _mix_rows(_numpy(values), _numpy(latents), _numpy(matrix), out.numpy())
    return out


def dot_rows(states: Tensor, latents: Tensor, matrix: Tensor) -> Tensor:
    """Sampled product: out[t, j] = states[t] . matrix[latents[t, j]], [tokens, k]."""
    if matrix.device.type != "cpu":
        return dot_rows_torch(states, latents, matrix)
    out = torch.empty(latents.shape)
    _dot_rows(_numpy(states), _numpy(latents), _numpy(matrix), out.numpy())
    return out


def dot_active_rows(values: Tensor, states: Tensor, latents: Tensor, matrix: Tensor) -> Tensor:
    """`dot_rows` where values [tokens, k] are not 0, and 0 elsewhere: padding costs next to nothing on a CPU."""
    if matrix.device.type != "cpu":
        return dot_rows_torch(states, latents, matrix) * (values != 0)
    out = torch.empty(latents.shape)
    _dot_active_rows(_numpy(values), _numpy(states), _numpy(latents), _numpy(matrix), out.numpy())
    return out


class Spares:
    """Gradients [n_latents, d] that are not needed any more, to be written over on the CPU.

    Fresh memory of that size costs more than what a step writes into it, and it grows with the width, not with k.
    """

    def __init__(self) -> None:
        self._matrices: list[Tensor] = []

    def give(self, gradient: Tensor | None) -> None:
        """Hand over a gradient, whose only reference this must be; that of a transposed matrix may lie transposed."""
        if gradient is not None and gradient.device.type == "cpu" and len(self._matrices) < 2:  # encoder and decoder
            self._matrices.append(gradient if gradient.is_contiguous() else gradient.T)

    def take(self, rows: int, columns: int) -> Tensor:
        """Uninitialised memory [rows, columns], which autograd may keep: nobody else refers to it."""
        if self._matrices and self._matrices[-1].shape == (rows, columns):
            return self._matrices.pop()
        return torch.empty(rows, columns)


def gather_rows(
    values: Tensor, latents: Tensor, states: Tensor, n_latents: int, spares: Spares | None = None
) -> Tensor:
    """Transposed product: out[l] = sum of values[t, j] * states[t] where latents[t, j] = l, [n_latents, d]."""
    if states.device.type != "cpu":
        return gather_rows_torch(values, latents, states, n_latents)
    coefficients, order, starts = _by_latent(_numpy(values), _numpy(latents), n_latents)
    out = (spares or Spares()).take(n_latents, states.shape[1])
    _gather_rows(coefficients, order, starts, _numpy(states), out.numpy())
    return out


def sum_values(values: Tensor, latents: Tensor, n_latents: int) -> Tensor:
    """out[l] = sum of values[t, j] where latents[t, j] = l, [n_latents]."""
    return torch.zeros(n_latents, device=values.device).index_add_(0, latents.flatten().long(), values.flatten())


class PrefixErrors(NamedTuple):
    """What `prefix_errors` gives: the error of every prefix of a token's latents, and its gradients."""

    error: Tensor  # scalar
    rest: Tensor  # [tokens, d]: what all k latents leave of the target
    grad_target: Tensor  # [tokens, d]
    grad_values: Tensor  # [tokens, k]
    grad_matrix: Tensor  # [n_latents, d]


def prefix_errors(target: Tensor, values: Tensor, latents: Tensor, matrix: Tensor) -> PrefixErrors:
    """Squared error of target [tokens, d] rebuilt from the first j of its k latents, averaged over j = 1..k and tokens.

    With r_j = target - sum_{i <= j} v_i w_i, the error is E = mean_t (1/k) sum_j |r_j|^2. A latent i takes part in the
    prefixes from i on, so with s_i = sum_{j >= i} r_j its gradients are dE/dv_i = -2/(k tokens) w_i . s_i and
    dE/dw_i = -2/(k tokens) v_i s_i; dE/dtarget = 2/(k tokens) s_1.
    """
    compute = _prefix_sums_numba if matrix.device.type == "cpu" else prefix_sums_torch
    error, rest, first, along, rows = compute(target, values, latents, matrix)
    factor = 1 / (latents.shape[1] * len(target))
    return PrefixErrors(error * factor, rest, first * (2 * factor), along * (-2 * factor), rows * (-2 * factor))


def prefix_sums_torch(
    target: Tensor, values: Tensor, latents: Tensor, matrix: Tensor
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


def _prefix_sums_numba(
    target: Tensor, values: Tensor, latents: Tensor, matrix: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    blocks = -(-matrix.shape[1] // _COLUMNS)
    rows = torch.zeros(matrix.shape)
    rest, first = torch.empty(target.shape), torch.empty(target.shape)
    along = torch.empty(blocks, *values.shape)
    errors = torch.empty(blocks, len(target))
    _prefix_sums(
        _numpy(target),
        _numpy(values),
        _numpy(latents),
        _numpy(matrix),
        errors.numpy(),
        rest.numpy(),
        first.numpy(),
        along.numpy(),
        rows.numpy(),
    )
    return errors.sum(), rest, first, along.sum(dim=0), rows


def mix_rows_torch(values: Tensor, latents: Tensor, matrix: Tensor) -> Tensor:
    """`mix_rows` in plain torch."""
    return torch.nn.functional.embedding_bag(latents.long(), matrix, per_sample_weights=values, mode="sum")


def dot_rows_torch(states: Tensor, latents: Tensor, matrix: Tensor) -> Tensor:
    """`dot_rows` in plain torch, over so many tokens at a time that the gathered rows stay small."""
    tokens = max(1, _GATHERED // (latents.shape[1] * matrix.shape[1]))
    parts = [
        torch.einsum("td,tkd->tk", some, matrix[which.long()])
        for some, which in zip(states.split(tokens), latents.split(tokens))
    ]
    return torch.cat(parts)


def gather_rows_torch(values: Tensor, latents: Tensor, states: Tensor, n_latents: int) -> Tensor:
    """`gather_rows` in plain torch: a sparse [n_latents, tokens] matrix times the states."""
    tokens = torch.arange(len(states), device=states.device).repeat_interleave(latents.shape[1])
    where = torch.stack([latents.flatten().long(), tokens])
    codes = torch.sparse_coo_tensor(where, values.flatten(), (n_latents, len(states)), check_invariants=False)
    return torch.sparse.mm(codes, states)


def _numpy(tensor: Tensor) -> NDArray[np.generic]:
    array: NDArray[np.generic] = tensor.detach().contiguous().numpy()
    return array


@numba.njit(parallel=True, nogil=True, cache=True)
def _mix_rows(
    values: NDArray[np.float32], latents: NDArray[np.int32], matrix: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    for token in numba.prange(len(values)):
        total = out[token]
        total[:] = 0
        for j in range(values.shape[1]):
            value = values[token, j]
            if value != 0:
                row = matrix[latents[token, j]]
                for i in range(len(row)):
                    total[i] += value * row[i]


@numba.njit(parallel=True, nogil=True, cache=True, fastmath=_FAST)
def _dot_rows(
    states: NDArray[np.float32], latents: NDArray[np.int32], matrix: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    for token in numba.prange(len(states)):
        state = states[token]
        for j in range(latents.shape[1]):
            row = matrix[latents[token, j]]
            total = np.float32(0)
            for i in range(len(row)):
                total += state[i] * row[i]
            out[token, j] = total


@numba.njit(parallel=True, nogil=True, cache=True, fastmath=_FAST)
def _dot_active_rows(
    values: NDArray[np.float32],
    states: NDArray[np.float32],
    latents: NDArray[np.int32],
    matrix: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    for token in numba.prange(len(states)):
        state = states[token]
        for j in range(latents.shape[1]):
            total = np.float32(0)
            if values[token, j] != 0:
                row = matrix[latents[token, j]]
                for i in range(len(row)):
                    total += state[i] * row[i]
            out[token, j] = total


@numba.njit(parallel=True, nogil=True, cache=True, fastmath=_FAST)
def _prefix_sums(
    target: NDArray[np.float32],
    values: NDArray[np.float32],
    latents: NDArray[np.int32],
    matrix: NDArray[np.float32],
    errors: NDArray[np.float32],
    rest: NDArray[np.float32],
    first: NDArray[np.float32],
    along: NDArray[np.float32],
    rows: NDArray[np.float32],
) -> None:
    """Shared by blocks of columns, so that no two threads add to the same part of a latent's row."""
    k = values.shape[1]
    for block in numba.prange(len(errors)):
        start = block * _COLUMNS
        end = min(start + _COLUMNS, target.shape[1])
        rests = np.empty((k, end - start), np.float32)
        total = np.empty(end - start, np.float32)
        for token in range(len(target)):
            error = np.float32(0)
            total[:] = target[token, start:end]
            for j in range(k):
                value, row = values[token, j], matrix[latents[token, j], start:end]
                for i in range(len(total)):
                    total[i] -= value * row[i]
                    rests[j, i] = total[i]
                    error += total[i] * total[i]
            errors[block, token] = error
            rest[token, start:end] = total
            total[:] = 0
            for j in range(k - 1, -1, -1):
                value, row = values[token, j], matrix[latents[token, j], start:end]
                added = rows[latents[token, j], start:end]
                product = np.float32(0)
                for i in range(len(total)):
                    total[i] += rests[j, i]
                    product += row[i] * total[i]
                    added[i] += value * total[i]
                along[block, token, j] = product
            first[token, start:end] = total


@numba.njit(nogil=True, cache=True)
def _by_latent(
    values: NDArray[np.float32], latents: NDArray[np.int32], n_latents: int
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]:
    """Entries sorted by latent (a counting sort, tokens ascending inside one): coefficients, tokens, start of each."""
    starts = np.zeros(n_latents + 1, np.int64)
    for token in range(values.shape[0]):
        for j in range(values.shape[1]):
            if values[token, j] != 0:
                starts[latents[token, j] + 1] += 1
    starts = np.cumsum(starts)
    tokens = np.empty(starts[-1], np.int32)
    coefficients = np.empty(starts[-1], np.float32)
    following = starts[:-1].copy()
    for token in range(values.shape[0]):
        for j in range(values.shape[1]):
            if values[token, j] != 0:
                place = following[latents[token, j]]
                following[latents[token, j]] += 1
                tokens[place] = token
                coefficients[place] = values[token, j]
    return coefficients, tokens, starts


@numba.njit(parallel=True, nogil=True, cache=True)
def _gather_rows(
    coefficients: NDArray[np.float32],
    tokens: NDArray[np.int32],
    starts: NDArray[np.int64],
    states: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    for latent in numba.prange(len(out)):
        total = out[latent]
        total[:] = 0
        for entry in range(starts[latent], starts[latent + 1]):
            value = coefficients[entry]
            state = states[tokens[entry]]
            for i in range(len(state)):
                total[i] += value * state[i]
