from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from saelex.errors import InputError
from saelex.evaluation import exact
from saelex.evaluation.exact import exact_run
from saelex.vectors import SparseRows


def _random(rows: int, seed: int) -> scipy.sparse.csr_array:
    matrix = scipy.sparse.random(rows, 40, density=0.1, random_state=seed, dtype=np.float32, format="csr")
    return scipy.sparse.csr_array(matrix)


def test_the_best_products_of_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, documents = _random(11, 0), _random(30, 1)
    names, ids = [f"q{i}" for i in range(11)], np.array([f"d{i:02}" for i in range(30)])
    scores = (queries @ documents.T).toarray()
    monkeypatch.setattr(exact, "_SCORES", 90)  # blocks of three queries
    run = exact_run(names, SparseRows.from_scipy(queries), ids, SparseRows.from_scipy(documents), depth=5)
    for i, name in enumerate(names):
        best = [j for j in np.lexsort((ids, -scores[i])) if scores[i, j] > 0][:5]
        assert list(run[name]) == [ids[j] for j in best]
        np.testing.assert_allclose(list(run[name].values()), scores[i, best], rtol=1e-6)


def test_a_document_counts_as_its_best_passage_and_ties_go_to_the_smaller_id() -> None:
    queries = SparseRows.from_dense([[1, 1], [0, 0]])
    passages = SparseRows.from_dense([[1, 0], [3, 0], [0, 2], [0, 3], [1, 1], [0, 0]])
    first = np.array([0, 2, 3, 5])
    run = exact_run(["q", "none"], queries, np.array(["b", "c", "a", "z"]), passages, first)
    assert list(run["q"].items()) == [("a", 3.0), ("b", 3.0), ("c", 2.0)]
    assert run["none"] == {}


def test_ids_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="1 document ids for 2 documents"):
        exact_run(["q"], SparseRows.empty(3, 1), np.array(["d"]), SparseRows.empty(3, 2))
