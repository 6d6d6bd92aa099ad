"""The scorer of twenty lines that every index has to beat: float32, term at a time, one pass for the best k.

A yardstick for speed and no engine: it is built once, from arrays, and keeps neither ids nor files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from saelex.index.engine import Hits
from saelex.index.kernels.arrays import ForwardRows
from saelex.index.kernels.build import build_postings
from saelex.vectors import SparseRows
from synthetic import compiled


def bare_scorer(chunks: Iterable[SparseRows], n_latents: int) -> Callable[[SparseRows, int], Hits]:
    """A search for one query at a time, whose ids are row numbers, over our own counting sort.

    Weights are rounded to 16 bits on the way, to save memory.
    """
    indptr, columns, weights, heaviest = [np.zeros(1, np.int64)], [], [], 0.0
    for chunk in chunks:
        heaviest = heaviest or 4 * float(chunk.weights.max())
        indptr.append(np.diff(chunk.indptr))
        columns.append(chunk.latents)
        weights.append(np.rint(chunk.weights * np.float32(65535 / heaviest)).astype(np.uint16))
    forward = ForwardRows(np.cumsum(np.concatenate(indptr)), np.concatenate(columns), np.concatenate(weights))
    del columns, weights
    postings = build_postings(forward, n_latents)
    floats, scores = postings.weights.astype(np.float32), np.zeros(len(forward.indptr) - 1, np.float32)

    def search(query: SparseRows, k: int) -> Hits:
        best, rows = _bare(postings.indptr, postings.rows, floats, *query.row(0), scores, k)
        order = np.lexsort((rows, -best))
        return Hits([[str(row) for row in rows[order]]], [best[order].astype(np.float64)])

    return search


@compiled
def _bare(
    indptr: NDArray[np.int64],
    rows: NDArray[np.int32],
    weights: NDArray[np.float32],
    latents: NDArray[np.int32],
    query: NDArray[np.float32],
    scores: NDArray[np.float32],
    k: int,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    scores[:] = 0
    for term in range(len(latents)):
        for entry in range(indptr[latents[term]], indptr[latents[term] + 1]):
            scores[rows[entry]] += query[term] * weights[entry]
    best, ids = np.zeros(k, np.float32), np.zeros(k, np.int64)
    lowest, least = 0, np.float32(0)
    for row in range(len(scores)):
        if scores[row] > least:
            best[lowest], ids[lowest] = scores[row], row
            lowest = int(np.argmin(best))
            least = best[lowest]
    return best, ids
