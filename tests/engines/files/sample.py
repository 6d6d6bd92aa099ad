"""What the tests of every format share: vectors, their exact scores, and dot products of what a reader found."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.corpus.documents import Document, Query
from saelex.engines.files.format import Summary, Vector
from saelex.vectors import SparseRows

N_COLUMNS = 70_000  # more than 16 bits can name


class Sample(NamedTuple):
    documents: list[tuple[Document, Vector]]
    queries: list[tuple[Query, Vector]]
    summary: Summary
    scores: NDArray[np.float64]  # [queries, documents], exact dot products


def vectors_of(rows: SparseRows) -> list[Vector]:
    return [Vector(*rows.row(i)) for i in range(len(rows))]


def dots(queries: list[dict[int, float]], documents: list[dict[int, float]]) -> NDArray[np.float64]:
    """Dot products of what a reader found in the exported files."""
    return np.array([[sum(w * doc.get(c, 0.0) for c, w in query.items()) for doc in documents] for query in queries])
