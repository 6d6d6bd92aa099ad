"""Exact search without an index: every dot product of queries and documents, under the project's rule for ties."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from saelex.corpus.documents import Run
from saelex.errors import InputError
from saelex.evaluation.measures import DEPTH, best_documents
from saelex.vectors import SparseRows

_SCORES = 2**23  # most scores of one block: 32 MiB


def exact_run(
    query_ids: Sequence[str],
    queries: SparseRows,
    document_ids: NDArray[np.str_],
    passages: SparseRows,
    first_passages: NDArray[np.int64] | None = None,
    depth: int = DEPTH,
) -> Run:
    """The `depth` best documents of every query by dot product, in float32; only scores above zero count.

    first_passages: [documents], the row of `passages` with which each document begins, ascending from 0; a document's
        score is that of its best passage. None: every document is one row.

    Raises InputError where ids and rows differ in number.
    """
    n_documents = len(passages) if first_passages is None else len(first_passages)
    if len(query_ids) != len(queries) or len(document_ids) != n_documents:
        raise InputError(
            f"exact search: {len(query_ids)} query ids for {len(queries)} rows, "
            f"{len(document_ids)} document ids for {n_documents} documents"
        )
    run: Run = {}
    block = max(1, _SCORES // max(1, len(passages)))
    for start in range(0, len(queries), block):
        scores = queries[start : start + block].dot(passages)  # [queries, passages]
        if first_passages is not None and len(first_passages) < len(passages):
            scores = np.maximum.reduceat(scores, first_passages, axis=1)  # [queries, documents]
        for query, row in zip(query_ids[start : start + block], scores):
            run[query] = best_documents(row, document_ids, depth)
    return run
