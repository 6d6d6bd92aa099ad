import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from saelex.errors import InputError
from saelex.selection import top_k_entries, top_k_rows, top_share_entries


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
    assert columns[0, 2] == 0  # the first that is no number


@pytest.mark.parametrize("k", [1, 3, 40])
@pytest.mark.parametrize("kind", ["normal", "tied", "not numbers"])
def test_entries_of_compressed_rows_are_a_stable_sort_of_each(kind, k):
    random = np.random.default_rng(k)
    lengths = [0, 1, 700, 3, 40, 41, 0]
    indptr = np.cumsum([0, *lengths])
    weights = random.standard_normal(indptr[-1]).astype(np.float32)
    if kind == "tied":
        weights = np.round(weights)
    elif kind == "not numbers":
        weights[random.random(len(weights)) < 0.97] = np.nan
    weights.setflags(write=False)
    expected = [
        np.sort(start + np.argsort(-weights[start:stop], kind="stable")[:k]) for start, stop in pairwise(indptr)
    ]
    np.testing.assert_array_equal(top_k_entries(indptr, weights, k), np.concatenate(expected))


def kept_of(row: np.ndarray, least: int, share: float) -> list[int]:
    """Numpy's answer for one row: places of its largest weights, equal ones in their order."""
    order = np.argsort(-np.where(np.isnan(row), -np.inf, row), kind="stable")
    carried = np.cumsum(np.maximum(np.nan_to_num(row[order].astype(np.float64)), 0))
    enough = np.searchsorted(carried, share * carried[-1]) + 1 if len(row) else 0
    return sorted(order[: max(least, enough)])


@pytest.mark.parametrize("least", [1, 5, 40])
@pytest.mark.parametrize("share", [0.001, 0.5, 0.7, 0.999])
@pytest.mark.parametrize("kind", ["weights", "tied", "below zero", "not numbers"])
def test_a_share_is_the_shortest_beginning_of_a_stable_sort_that_carries_it(kind, share, least):
    random = np.random.default_rng(7)
    lengths = [0, 1, 300, 3, 40, 41, 0]
    indptr = np.cumsum([0, *lengths])
    weights = random.gamma(1.0, size=indptr[-1]).astype(np.float32)
    if kind == "tied":
        weights = np.round(weights) + 1
    elif kind == "below zero":
        weights -= 1
    elif kind == "not numbers":
        weights[random.random(len(weights)) < 0.5] = np.nan
    kept = top_share_entries(indptr, weights, least, share)
    for start, stop in pairwise(indptr):
        assert np.flatnonzero(kept[start:stop]).tolist() == kept_of(weights[start:stop], least, share)
    alone = [top_share_entries(np.array([0, b - a]), weights[a:b], least, share) for a, b in pairwise(indptr)]
    np.testing.assert_array_equal(np.concatenate(alone), kept)


def test_equal_weights_keep_the_lower_latents():
    kept = top_share_entries(np.array([0, 10]), np.ones(10, np.float32), 2, 0.6)
    assert np.flatnonzero(kept).tolist() == [0, 1, 2, 3, 4, 5]


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
