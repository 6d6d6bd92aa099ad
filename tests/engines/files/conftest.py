from __future__ import annotations

import numpy as np
import pytest
from tests.engines.files.sample import N_COLUMNS, Sample, vectors_of

from saelex.corpus.documents import Document, Query
from saelex.engines.files.format import Summary
from saelex.vectors import SparseRows


@pytest.fixture(scope="session")
def sample() -> Sample:
    """Random vectors that share columns, weights as an index stores them: integers times one step."""
    generator = np.random.default_rng(7)
    columns = np.sort(generator.choice(N_COLUMNS, 60, replace=False))
    columns[-1] = N_COLUMNS - 1

    def rows(count: int, active: int, step: float) -> SparseRows:
        return SparseRows.from_dicts(
            [
                {
                    int(column): int(generator.integers(1, 16_000)) * step
                    for column in generator.choice(columns, active, replace=False)
                }
                for _ in range(count)
            ],
            N_COLUMNS,
        )

    documents, queries = rows(40, 25, 0.00037), rows(8, 12, 0.00011)
    named = [Document(f"doc-{i}", f'text "{i}" with ü\nand a line', f"title {i}", {"year": i}) for i in range(40)]
    asked = [Query(f"q{i}", f"query {i}") for i in range(8)]
    exact = queries.to_dense().astype(np.float64) @ documents.to_dense().T.astype(np.float64)
    return Sample(
        list(zip(named, vectors_of(documents))),
        list(zip(asked, vectors_of(queries))),
        Summary(N_COLUMNS, float(documents.weights.max()), float(queries.weights.max())),
        exact,
    )
