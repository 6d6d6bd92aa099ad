"""The k largest of each row, and the one rule for ties, which holds from the tokens to the measures.

The rule for ties. Of equal weights, activations or pre-activations the lower latent comes first; of tokens that are
equally strong in a latent, the first. Of documents with equal scores the index gives the one that was added first, and
runs, fusion and measures the one with the smaller id (as a string): who adds documents in the order of their ids, as
the evaluation does, sees one order. The k largest are the first k of this order. Devices that have only `torch.topk`
break ties between pre-activations as it does.

The loops are in `selection_loops`, compiled; for the few entries of a query they are here once more, in plain numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from saelex.compiling import is_due
from saelex.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

_FEW = 1 << 16  # entries


def top_k_rows(values: Tensor, k: int, *, parallel: bool = False) -> tuple[Tensor, Tensor]:
    """The k largest values of each row, largest first, [rows, k], and their columns, int32 [rows, k].

    values: [rows, width], not NaN. On a CPU equal values are taken in the order of their columns (the lower latent
    first), independent of the number of threads; on other devices `torch.topk` decides.
    parallel: share the rows among numba's threads, as training does. Two such calls at once, from two threads of a
        program, end the process where numba has no other threading layer than its own; without it any thread may call.
    Raises InputError unless 1 <= k <= width.
    """
    import torch

    from saelex.selection_loops import select_rows, select_rows_in_parallel

    if values.ndim != 2 or not 1 <= k <= values.shape[1]:
        raise InputError(f"top-{k} of rows needs a matrix with at least {max(k, 1)} columns, not {list(values.shape)}")
    if values.device.type != "cpu":
        largest = torch.topk(values, k, dim=1)
        return largest.values, largest.indices.int()
    best = torch.empty(len(values), k)
    columns = torch.empty(len(values), k, dtype=torch.int32)
    select = select_rows_in_parallel if parallel else select_rows
    select(values.detach().float().contiguous().numpy(), best.numpy(), columns.numpy())
    return best.to(values.dtype), columns


def top_k_entries(indptr: NDArray[np.int64], weights: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The entries, ascending, of the k largest weights of each compressed row; all of a row that has no more.

    indptr: int64 [rows + 1], row i owns weights[indptr[i]:indptr[i + 1]]; weights: float32 [non-zeros], NaN last.
    """
    if not is_due(much=len(weights) > _FEW):
        return _plain_top_k_entries(indptr, weights, k)
    from saelex import selection_loops

    found: NDArray[np.int64] = selection_loops.top_k_entries(
        np.ascontiguousarray(indptr), np.ascontiguousarray(weights), k
    )
    return found


def top_share_entries(
    indptr: NDArray[np.int64], weights: NDArray[np.float32], least: int, share: float
) -> NDArray[np.bool_]:
    """Which entries are kept, [non-zeros]: of each row the `least` largest, and more until they carry a share of it.

    indptr, weights: as in `top_k_entries`; NaN counts as the smallest number. share: from 0 to 1.

    Entries come largest first, equal ones in the order of their columns, and are summed so, in float64 and over weights
    above zero alone: what is kept of a row does not depend on its neighbours.
    """
    if not is_due(much=len(weights) > _FEW):
        return _plain_top_share_entries(indptr, weights, least, share)
    from saelex import selection_loops

    kept: NDArray[np.bool_] = selection_loops.top_share_entries(
        np.ascontiguousarray(indptr), np.ascontiguousarray(weights), least, share
    )
    return kept


# ---- plain ----------------------------------------------------------------------------------------------------------


def _plain_top_k_entries(indptr: NDArray[np.int64], weights: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    order = _largest_first(indptr, weights)
    return np.sort(order[_places(indptr) < k])


def _plain_top_share_entries(
    indptr: NDArray[np.int64], weights: NDArray[np.float32], least: int, share: float
) -> NDArray[np.bool_]:
    order = _largest_first(indptr, weights)
    mass = np.where(weights > 0, weights, 0).astype(np.float64)[order]
    kept = np.zeros(len(weights), np.bool_)
    for start, stop in zip(indptr[:-1].tolist(), indptr[1:].tolist()):
        carried = np.cumsum(mass[start:stop])  # one after the other, as the compiled loop adds
        before = np.concatenate([[0.0], carried[:-1]])
        wanted = (np.arange(stop - start) < least) | (before < share * carried[-1:])
        kept[order[start:stop][wanted]] = True
    return kept


def _largest_first(indptr: NDArray[np.int64], weights: NDArray[np.float32]) -> NDArray[np.int64]:
    """The entries row by row, each row's largest first; ties by entry, NaN last."""
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    return np.lexsort((-weights, rows))


def _places(indptr: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each entry's place within its row."""
    return np.arange(indptr[-1]) - np.repeat(indptr[:-1], np.diff(indptr))
