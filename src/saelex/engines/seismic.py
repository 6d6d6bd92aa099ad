"""Seismic: approximate search over clustered postings, in memory (Bruch et al., SIGIR 2024; `pyseismic-lsr`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from saelex.errors import InputError
from saelex.index.engine import Hits, Limits, check_columns, check_documents, check_new, check_queries, closed
from saelex.installation import needs_extra
from saelex.vectors import SparseRows


class SeismicEngine:
    """Seismic for large vocabularies, with settings that reach recall 0.99 on benchmarks/synthetic.py's documents.

    The first search builds the index, which takes long (14 minutes for 200,000 documents of 300 latents) and is final.
    Weights are float16, so 11 bits of each are kept.

    n_postings, max_fraction: postings kept of a latent, on average and as a multiple of that. query_cut: heaviest
    latents of a query whose postings are searched. heap_factor: lower searches less. threads: those that build.
    """

    limits = Limits(weight=65_504.0, document_error=2**-11, finds_all=False, deletes=False, grows=False)

    def __init__(
        self,
        n_latents: int,
        *,
        n_postings: int = 150,
        max_fraction: float = 6.0,
        query_cut: int = 10,
        heap_factor: float = 0.9,
        threads: int = 1,
    ) -> None:
        check_columns(n_latents, self.limits)
        self.n_latents = n_latents
        self._building: dict[str, Any] = {
            "n_postings": n_postings,
            "max_fraction": max_fraction,
            "num_threads": threads,
        }
        self._searching: dict[str, Any] = {"query_cut": query_cut, "heap_factor": heap_factor}
        self._dataset: Any = _seismic().SeismicDatasetLV()
        self._index: Any = None
        self._ids: set[str] = set()

    def __repr__(self) -> str:
        return "SeismicEngine()"

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: Sequence[str], vectors: SparseRows) -> None:
        """See `VectorEngine`."""
        check_documents(self, ids, vectors)
        if self._index is not None:
            raise InputError("Seismic's index is final once it was searched; add all vectors before, or make a new one")
        check_new(ids, self._ids)
        # it leaves empty rows out
        self._open().add_documents_by_id(
            list(ids), vectors.latents.astype(np.int64), np.asarray(vectors.weights), np.asarray(vectors.indptr)
        )
        self._ids.update(ids)

    def delete(self, ids: Iterable[str]) -> None:
        """Raises InputError: Seismic deletes nothing."""
        raise InputError("Seismic cannot delete vectors; make a new index of those that stay")

    def search(self, queries: SparseRows, k: int = 10) -> Hits:
        """See `VectorEngine`."""
        check_queries(self, queries, k)
        if self._index is None:
            self._index = self._build()
        hits, text = Hits([], []), _seismic().get_seismic_string()
        for latents, weights in queries:
            known = latents < self._index.dim  # the columns end with the last latent that a document has
            names = latents[known].astype(text)
            answer = self._index.search("", names, weights[known], k=k, **self._searching) if len(names) else []
            above = [(name, score) for _, score, name in answer if score > 0]
            hits.ids.append([name for name, _ in above])
            hits.scores.append(np.array([score for _, score in above], np.float64))
        return hits

    def close(self) -> None:
        """See `VectorEngine`."""
        self._dataset, self._index, self._ids = None, None, set()

    def _open(self) -> Any:
        if self._dataset is None:
            raise closed(self)
        return self._dataset

    def _build(self) -> Any:
        return _seismic().SeismicIndexLV.build_from_dataset(self._open(), **self._building)


def _seismic() -> Any:
    try:
        import seismic
    except ImportError as error:
        raise needs_extra("Seismic", "pyseismic-lsr", "seismic") from error
    return seismic
