import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from saelex.errors import InputError
from saelex.sae.selection import keep_largest, top_k_rows


def expected(values, k):
    """Full sort by value, then by column."""
    columns = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    order = np.lexsort((columns, -values), axis=1)[:, :k]
    return np.take_along_axis(values, order, axis=1), order


@pytest.mark.parametrize(("width", "k"), [(1, 1), (5, 5), (100, 7), (3000, 100), (5000, 32), (5001, 33), (4000, 1)])
@pytest.mark.parametrize("kind", ["normal", "tied", "mostly minus infinity", "constant", "ascending"])
def test_equals_a_full_sort(width, k, kind):
    random = np.random.default_rng(width)
    values = random.standard_normal((9, width)).astype(np.float32)
    if kind == "tied":
        values = np.round(values)
    elif kind == "mostly minus infinity":
        values[random.random(values.shape) < 0.9] = -np.inf
    elif kind == "constant":
        values[:] = 0
        values[:, ::2] = -0.0
    elif kind == "ascending":
        values.sort(axis=1)
    best, columns = top_k_rows(torch.from_numpy(values), k)
    best_expected, columns_expected = expected(values + np.float32(0), k)
    np.testing.assert_array_equal(columns.numpy(), columns_expected)
    np.testing.assert_array_equal(best.numpy(), best_expected)
    assert columns.dtype == torch.int32


@settings(max_examples=40, deadline=None)
@given(
    npst.arrays(
        np.float32,
        npst.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=300),
        elements=st.floats(width=32, allow_nan=False),
    ),
    st.data(),
)
def test_equals_a_full_sort_on_anything(values, data):
    k = data.draw(st.integers(1, values.shape[1]))
    best, columns = top_k_rows(torch.from_numpy(values), k)
    best_expected, columns_expected = expected(values, k)
    np.testing.assert_array_equal(columns.numpy(), columns_expected)
    np.testing.assert_array_equal(best.numpy(), best_expected)


def test_nan_never_wins_and_marks_what_is_missing():
    values = torch.full((1, 400), float("nan"))
    values[0, 7], values[0, 300] = 1.0, 2.0
    best, columns = top_k_rows(values, 3)
    assert columns[0, :2].tolist() == [300, 7]
    assert best[0, :2].tolist() == [2.0, 1.0]
    assert best[0, 2].isnan()


def test_keeps_the_dtype():
    best, _ = top_k_rows(torch.tensor([[1.0, 3.0, 2.0]], dtype=torch.bfloat16), 2)
    assert best.dtype == torch.bfloat16
    assert best.tolist() == [[3.0, 2.0]]


@pytest.mark.parametrize("k", [0, 4])
def test_impossible_k_is_an_error(k):
    with pytest.raises(InputError, match="top-"):
        top_k_rows(torch.zeros(2, 3), k)


def test_threads_and_rows_in_parallel_give_the_same():
    values = torch.randn(50, 2000, generator=torch.Generator().manual_seed(0))
    for one, other in zip(top_k_rows(values, 7), top_k_rows(values, 7, parallel=True)):
        assert torch.equal(one, other)


def test_several_threads_may_encode_at_once_with_numbas_own_threading_layer():
    script = """
from concurrent.futures import ThreadPoolExecutor
import torch
from saelex.sae.activations import TopK
pre = torch.randn(2000, 500, generator=torch.Generator().manual_seed(0))
alone = TopK(9)(pre)
with ThreadPoolExecutor(4) as pool:
    assert all(torch.equal(found, alone) for found in pool.map(TopK(9), [pre] * 16))
"""
    environment = os.environ | {"NUMBA_THREADING_LAYER": "workqueue", "NUMBA_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=60)


@pytest.mark.parametrize("seed", range(4))
def test_the_largest_of_a_matrix_are_found_from_few_candidates_per_row(seed):
    """Against torch.topk over the whole matrix, where one row holds far more than its share, and one none."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(30, 200, generator=generator)
    matrix[4] = matrix[4].abs() + 5
    matrix[9] *= -matrix[9].sign()
    matrix[seed + 10] += 1
    k, asked = 6, []

    def candidates(rows, count):
        asked.append((rows.tolist(), count))
        best, columns = top_k_rows(matrix[rows], count)
        return best.relu(), columns

    values, columns = candidates(torch.arange(30), 2 * k)
    kept, where = keep_largest(values, columns, k * 30, 200, candidates)
    found = torch.zeros_like(matrix).scatter_add(1, where.long(), kept)
    best = matrix.flatten().topk(k * 30)
    assert torch.equal(found, torch.zeros(30 * 200).scatter(0, best.indices, best.values).view(30, 200))
    assert kept.shape[1] == (found > 0).sum(1).max()
    assert all(4 in rows and 9 not in rows for rows, _ in asked[1:])
    assert [count for _, count in asked] == [12, 24, 48, 96, 192, 200][: len(asked)] and len(asked) >= 4


def test_fewer_positive_entries_than_wanted_are_all_kept():
    matrix = -torch.ones(5, 40)
    matrix[0, 3:9] = torch.arange(1.0, 7.0)
    matrix[2, 30] = 0.5

    def candidates(rows, count):
        best, columns = top_k_rows(matrix[rows], count)
        return best.relu(), columns

    kept, columns = keep_largest(*candidates(torch.arange(5), 4), 10, 40, candidates)
    assert torch.equal(torch.zeros(5, 40).scatter_add(1, columns.long(), kept), matrix.relu())
    nothing, _ = keep_largest(torch.zeros(5, 4), torch.zeros(5, 4, dtype=torch.int32), 10, 40, candidates)
    assert nothing.shape == (5, 1) and not nothing.any()
