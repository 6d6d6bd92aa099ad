"""Products of a sparse [rows, other rows] gradient with a dense matrix, given as triples: the backward of the head.

Only the entries of the pooled vectors that are not zero have a gradient: its cost follows them, not tokens x latents.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ENTRIES_AT_A_TIME = 2**14
_NUMBA_DTYPES = (torch.float32, torch.float64)


class Entries(NamedTuple):
    """Entries of the gradient with respect to the raw products hidden . weight; each [entries]."""

    tokens: Tensor  # int64, rows of hidden
    latents: Tensor  # int64, rows of weight
    values: Tensor  # accumulation dtype


def hidden_gradient(entries: Entries, hidden: Tensor, weight: Tensor) -> Tensor:
    """Gradient of hidden [tokens, d_model]: the sum of value * weight[latent] over each token's entries."""
    total = torch.zeros(hidden.shape, dtype=entries.values.dtype, device=hidden.device)
    _add_rows(total, entries.tokens, weight, entries.latents, entries.values)
    return total.to(hidden.dtype)


def weight_gradient(entries: Entries, hidden: Tensor, weight: Tensor) -> Tensor:
    """Dense gradient of weight [latents, d_model], of which only the rows of active latents are written."""
    total = _lazy_zeros(weight)
    if weight.dtype == entries.values.dtype:
        _add_rows(total, entries.latents, hidden, entries.tokens, entries.values)
        return total
    # half precision: accumulate the rows that occur in float32, round once
    latents, rows = entries.latents.unique(return_inverse=True)
    sums = entries.values.new_zeros(len(latents), weight.shape[1])
    _add_rows(sums, rows, hidden, entries.tokens, entries.values)
    total[latents] = sums.to(weight.dtype)
    return total


def _add_rows(total: Tensor, into: Tensor, source: Tensor, rows: Tensor, values: Tensor) -> None:
    """total[into[i]] += values[i] * source[rows[i]] for every i."""
    if total.device.type == "cpu" and source.dtype in _NUMBA_DTYPES:
        arrays = (total, into, source.contiguous(), rows, values)
        _add_scaled_rows(*(array.detach().numpy() for array in arrays))
        return
    pieces = (into.split(_ENTRIES_AT_A_TIME), rows.split(_ENTRIES_AT_A_TIME), values.split(_ENTRIES_AT_A_TIME))
    for some_into, some_rows, some_values in zip(*pieces):
        total.index_add_(0, some_into, source[some_rows].to(total.dtype) * some_values[:, None])


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _add_scaled_rows(
    total: NDArray[Any], into: NDArray[np.int64], source: NDArray[Any], rows: NDArray[np.int64], values: NDArray[Any]
) -> None:
    for i in range(len(into)):
        target = total[into[i]]
        row = source[rows[i]]
        value = values[i]
        for j in range(len(row)):
            target[j] += value * row[j]


def _lazy_zeros(like: Tensor) -> Tensor:
    """Zeros; on a CPU by calloc, which leaves the zeroing to the system, page by page at the first write."""
    if like.device.type == "cpu" and like.dtype in _NUMBA_DTYPES:
        return torch.from_numpy(np.zeros(like.shape, np.float32 if like.dtype == torch.float32 else np.float64))
    return torch.zeros_like(like)
