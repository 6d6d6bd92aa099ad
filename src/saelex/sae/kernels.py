"""Products with the few active latents of each token: what makes a TopK SAE's cost follow k and not the width.

A batch of codes is (values [tokens, k], latents [tokens, k]); a matrix of latents has a row per latent, [n_latents, d].
Each operation has a numba kernel for the CPU and a form in plain torch for other devices, equal up to rounding. Kernels
share work by whole output rows, so that results do not depend on the order in which threads finish.
"""
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_GATHERED = 1 << 25  # floats that the torch form may gather at once
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


def gather_rows(values: Tensor, latents: Tensor, states: Tensor, n_latents: int) -> Tensor:
    """Transposed product: out[l] = sum of values[t, j] * states[t] where latents[t, j] = l, [n_latents, d]."""
    if states.device.type != "cpu":
        return gather_rows_torch(values, latents, states, n_latents)
    coefficients, order, starts = _by_latent(_numpy(values), _numpy(latents), n_latents)
    out = torch.empty(n_latents, states.shape[1])
    _gather_rows(coefficients, order, starts, _numpy(states), out.numpy())
    return out


def sum_values(values: Tensor, latents: Tensor, n_latents: int) -> Tensor:
    """out[l] = sum of values[t, j] where latents[t, j] = l, [n_latents]."""
    return torch.zeros(n_latents, device=values.device).index_add_(0, latents.flatten().long(), values.flatten())


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
