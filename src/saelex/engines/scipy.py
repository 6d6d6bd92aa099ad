"""scipy, in memory: every dot product in float64. Slow and obviously right: what other engines are measured against."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from saelex.index.engine import (
    Hits,
    Limits,
    check_columns,
    check_documents,
    check_known,
    check_new,
    check_queries,
    closed,
    distinct,
)
from saelex.vectors import SparseRows

if TYPE_CHECKING:
    import scipy.sparse


class ScipyEngine:
    """Exact; ties in the order of adding."""

    limits = Limits()

    def __init__(self, n_latents: int) -> None:
        check_columns(n_latents, self.limits)
        self.n_latents = n_latents
        self._ids: list[str] = []
        self._vectors: SparseRows | None = SparseRows.empty(n_latents)
        self._columns: scipy.sparse.csc_array | None = None  # made by the first search after a change

    def __repr__(self) -> str:
        return "ScipyEngine()"

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: Sequence[str], vectors: SparseRows) -> None:
        """See `VectorEngine`."""
        check_documents(self, ids, vectors)
        check_new(ids, set(self._ids))
        self._put([*self._ids, *ids], SparseRows.concatenate([self._open(), vectors]))

    def delete(self, ids: Iterable[str]) -> None:
        """See `VectorEngine`."""
        gone, vectors = set(distinct(ids)), self._open()
        check_known(gone, set(self._ids))
        kept = [row for row, name in enumerate(self._ids) if name not in gone]
        self._put([self._ids[row] for row in kept], vectors[np.array(kept, np.int64)])

    def search(self, queries: SparseRows, k: int = 10) -> Hits:
        """See `VectorEngine`."""
        check_queries(self, queries, k)
        if self._columns is None:
            self._columns = self._open().to_scipy().astype(np.float64).tocsc()
        hits = Hits([], [])
        for latents, weights in queries:
            scores = self._columns[:, latents] @ weights.astype(np.float64)  # [documents]
            rows = _best(scores, k)
            hits.ids.append([self._ids[row] for row in rows.tolist()])
            hits.scores.append(scores[rows])
        return hits

    def close(self) -> None:
        """See `VectorEngine`."""
        self._ids, self._vectors, self._columns = [], None, None

    def _open(self) -> SparseRows:
        if self._vectors is None:
            raise closed(self)
        return self._vectors

    def _put(self, ids: list[str], vectors: SparseRows) -> None:
        self._ids, self._vectors, self._columns = ids, vectors, None


def _best(scores: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """The rows of the k largest scores above zero, ties by ascending row."""
    above = np.flatnonzero(scores > 0)
    if len(above) > k:
        above = above[scores[above] >= np.partition(scores[above], -k)[-k]]
    best: NDArray[np.int64] = above[np.argsort(-scores[above], kind="stable")][:k]
    return best
