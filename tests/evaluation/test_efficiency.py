from __future__ import annotations

import numpy as np
import pytest

from saelex.errors import InputError
from saelex.evaluation.efficiency import activation_shares, gini, mean_active, mean_postings, qd_flops
from saelex.vectors import SparseRows


def test_by_hand() -> None:
    queries = SparseRows.from_dense([[1, 0, 2, 0], [0, 0, 3, 0]])
    documents = SparseRows.from_dense([[1, 1, 0, 0], [0, 1, 5, 0], [0, 1, 5, 0], [0, 1, 0, 0]])
    assert activation_shares(queries).tolist() == [0.5, 0, 1, 0]
    # 1/2 · 1/4 + 0 · 1 + 1 · 2/4
    assert qd_flops(queries, documents) == 0.625
    assert (mean_active(queries), mean_active(documents)) == (1.5, 1.75)


def test_it_is_the_mean_number_of_shared_latents_and_ignores_stored_zeros() -> None:
    generator = np.random.default_rng(0)
    queries, documents = ((generator.random((rows, 50)) < 0.2).astype(np.float32) for rows in (30, 70))
    shared = (queries @ documents.T).mean()
    rows = [SparseRows.from_dense(one) for one in (queries, documents)]
    zeroed = rows[1].with_weights(np.where(rows[1].latents == 7, 0, rows[1].weights))
    assert qd_flops(*rows) == pytest.approx(shared, rel=1e-6)
    documents[:, 7] = 0
    assert qd_flops(rows[0], zeroed) == pytest.approx((queries @ documents.T).mean(), rel=1e-6)
    assert mean_active(zeroed) == pytest.approx(documents.sum(1).mean(), rel=1e-6)


def test_refused() -> None:
    with pytest.raises(InputError, match="4 latents, documents of 5"):
        qd_flops(SparseRows.empty(4, 1), SparseRows.empty(5, 1))
    with pytest.raises(InputError, match="no vectors"):
        mean_active(SparseRows.empty(4))


def test_postings_are_the_document_frequencies_of_the_querys_latents() -> None:
    queries = SparseRows.from_dense([[1, 0, 2, 0], [0, 0, 3, 0], [0, 0, 0, 0]])
    documents = SparseRows.from_dense([[1, 1, 0, 0], [0, 1, 5, 0], [0, 1, 5, 0], [0, 1, 0, 0]])
    # 1 + 2, 2 and 0
    assert mean_postings(queries, documents) == pytest.approx(5 / 3)


def test_gini_is_the_textbooks_mean_difference() -> None:
    values = np.random.default_rng(0).poisson(3, 200) ** 2
    differences = np.abs(values[:, None] - values[None, :]).sum()
    assert gini(values) == pytest.approx(differences / (2 * len(values) ** 2 * values.mean()))
    assert gini([3, 3, 3]) == pytest.approx(0)
    assert gini([0, 0, 0, 8]) == pytest.approx(0.75)
    assert gini([0, 0]) == 0
    for wrong in ([], [1, -1]):
        with pytest.raises(InputError, match="numbers from 0 up"):
            gini(wrong)
