"""Products with a batch of codes on CPUs, by numba: equal to plain PyTorch's up to rounding.

Kernels share work by whole output rows, so that results do not depend on the order in which threads finish.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saelex.compiling import njit
from saelex.sae.products.plain import CodeProducts, Spares

_COLUMNS = 128  # dimensions that a thread of _prefix_sums works on: k rests of so many floats stay in the cache
_FAST = {"reassoc", "contract", "nsz"}  # lets LLVM vectorise a dot product; NaN and infinity keep their meaning


class CpuCodeProducts(CodeProducts):
    """All in float32, on numba's threads."""

    def mix_rows(self, values: Tensor, latents: Tensor, matrix: Tensor) -> Tensor:
        out = torch.empty(len(values), matrix.shape[1])
        _mix_rows(*_arrays(values, latents, matrix), out.numpy())
        return out

    def dot_rows(self, states: Tensor, latents: Tensor, matrix: Tensor) -> Tensor:
        out = torch.empty(latents.shape)
        _dot_rows(*_arrays(states, latents, matrix), out.numpy())
        return out

    def dot_active_rows(self, values: Tensor, states: Tensor, latents: Tensor, matrix: Tensor) -> Tensor:
        out = torch.empty(latents.shape)
        _dot_active_rows(*_arrays(values, states, latents, matrix), out.numpy())
        return out

    def gather_rows(
        self, values: Tensor, latents: Tensor, states: Tensor, n_latents: int, spares: Spares | None = None
    ) -> Tensor:
        coefficients, order, starts = _by_latent(*_arrays(values, latents), n_latents)
        out = (spares or Spares()).take(n_latents, states.shape[1])
        _gather_rows(coefficients, order, starts, *_arrays(states), out.numpy())
        return out

    def prefix_sums(
        self, target: Tensor, values: Tensor, latents: Tensor, matrix: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        blocks = -(-matrix.shape[1] // _COLUMNS)
        rows = torch.zeros(matrix.shape)
        rest, first = torch.empty(target.shape), torch.empty(target.shape)
        along = torch.empty(blocks, *values.shape)
        errors = torch.empty(blocks, len(target))
        outputs = (errors, rest, first, along, rows)
        _prefix_sums(*_arrays(target, values, latents, matrix), *(output.numpy() for output in outputs))
        return errors.sum(), rest, first, along.sum(dim=0), rows


def _arrays(*tensors: Tensor) -> list[NDArray[np.generic]]:
    """Contiguous arrays, to read."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


@njit(parallel=True)
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


@njit(parallel=True, fastmath=_FAST)
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


@njit(parallel=True, fastmath=_FAST)
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


@njit(parallel=True, fastmath=_FAST)
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


@njit()
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


@njit(parallel=True)
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
