"""What `benchmarks/index.py` measures itself against: scipy, a bare numba scorer, Qdrant's embedded engine, Seismic.

Each alternative takes the same chunks of documents and answers one query at a time: `search(latents, weights, k)` gives
row numbers, best first. What is not installed is skipped with one line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saelex.vectors import SparseRows
from synthetic import compiled

Search = Callable[[NDArray[np.int32], NDArray[np.float32], int], NDArray[np.int64]]

SEISMIC_DOCUMENTS = 20_000
"""Seismic took 14 minutes to build an index of 200,000 of these documents, so it gets fewer."""


def installed(package: str) -> bool:
    """False, and one line saying so, where a package is missing."""
    if find_spec(package) is None:
        print(f"{package} is not installed: skipped")
        return False
    return True


def scipy_columns(stored: SparseRows) -> Search:
    """Slices of a CSC matrix times the query's weights, then the best; float64, so that integers stay exact."""
    columns = stored.to_scipy().astype(np.float64).tocsc()

    def search(latents: NDArray[np.int32], weights: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        scores = columns[:, latents] @ weights.astype(np.float64)
        threshold = np.partition(scores, -k)[-k]
        hits = np.flatnonzero(scores >= max(threshold, np.nextafter(0, 1)))
        best: NDArray[np.int64] = hits[np.lexsort((hits, -scores[hits]))][:k]
        return best

    return search


def bare_scorer(indptr: NDArray[np.int64], rows: NDArray[np.int32], weights: NDArray[Any], n_rows: int) -> Search:
    """The scorer of twenty lines that every index has to beat: float32, term at a time, one pass for the best k."""
    floats = weights.astype(np.float32)
    scores = np.zeros(n_rows, np.float32)

    def search(latents: NDArray[np.int32], query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        best, ids = _bare(indptr, rows, floats, latents, query, scores, k)
        return ids[np.lexsort((ids, -best))]

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


def qdrant(folder: Path, chunks: Iterable[SparseRows]) -> Search:
    """Qdrant's embedded engine, float32 weights, its optimizers run to the end."""
    import qdrant_edge as edge

    folder.mkdir(parents=True)
    settings = edge.EdgeConfig(sparse_vectors={"latents": edge.EdgeSparseVectorParams()}, max_search_threads=1)
    shard = edge.EdgeShard.create(str(folder), settings)
    number = 0
    for chunk in chunks:
        for start in range(0, len(chunk), 1000):
            points = []
            for latents, weights in chunk[start : start + 1000]:
                vector = edge.SparseVector(latents.tolist(), weights.tolist())
                points.append(edge.Point(number, {"latents": vector}, None))
                number += 1
            shard.update(edge.UpdateOperation.upsert_points(points))
    shard.optimize()
    shard.flush()

    def search(latents: NDArray[np.int32], weights: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        vector = edge.SparseVector(latents.tolist(), weights.tolist())
        found = shard.query(edge.QueryRequest(limit=k, query=edge.Query.Nearest(vector, using="latents")))
        return np.array([point.id for point in found], np.int64)

    return search


def seismic(chunks: Iterable[SparseRows], query_cut: int = 10, heap_factor: float = 0.9) -> Search:
    """Seismic for large vocabularies, with settings that reach recall 0.99 on the synthetic documents."""
    from seismic import SeismicDatasetLV, SeismicIndexLV

    dataset = SeismicDatasetLV()
    number = 0
    for chunk in chunks:
        ids = [str(row) for row in range(number, number + len(chunk))]
        dataset.add_documents_by_id(ids, chunk.latents.astype(np.int64), chunk.weights, chunk.indptr)
        number += len(chunk)
    index = SeismicIndexLV.build_from_dataset(dataset, n_postings=150, max_fraction=6.0, num_threads=1)

    def search(latents: NDArray[np.int32], weights: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        names = latents.astype(str)
        found = index.search("", names, weights, k=k, query_cut=query_cut, heap_factor=heap_factor)
        return np.array([int(document) for _, _, document in found], np.int64)

    return search
