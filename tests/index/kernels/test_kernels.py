"""The compiled kernels against plain numpy (reference.py) and scipy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from saelex.index.kernels import build as kernels_build
from saelex.index.kernels import reference
from saelex.index.kernels import scoring as kernels
from saelex.index.kernels.arrays import NO_SCORE, ForwardRows, Postings

DTYPES = [np.uint8, np.uint16]


def random_rows(n_rows: int, n_columns: int, density: float, dtype: Any, seed: int = 0) -> ForwardRows:
    """Few different weights, so that ties are common; some rows are empty."""
    generator = np.random.default_rng(seed)
    largest = np.iinfo(dtype).max
    levels = np.unique(np.concatenate([[1, largest], generator.integers(1, largest, 12)])).astype(dtype)
    mask = generator.random((n_rows, n_columns)) < density
    mask[generator.random(n_rows) < 0.1] = False
    rows, latents = np.nonzero(mask)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n_rows))]).astype(np.int64)
    return ForwardRows(indptr, latents.astype(np.int32), generator.choice(levels, len(latents)))


def to_scipy(forward: ForwardRows, n_columns: int) -> Any:
    weights = forward.weights.astype(np.int64)
    return scipy.sparse.csr_array((weights, forward.latents, forward.indptr), shape=(forward.n_rows, n_columns))


def assert_same(left: tuple[Any, ...], right: tuple[Any, ...]) -> None:
    for a, b in zip(left, right):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
def test_postings_are_the_transposed_rows(dtype: Any) -> None:
    forward = random_rows(300, 70, 0.1, dtype)
    postings = kernels_build.build_postings(forward, 75)
    assert_same(postings, reference.build_postings(forward, 75))
    columns = to_scipy(forward, 75).tocsc()
    np.testing.assert_array_equal(postings.indptr, columns.indptr)
    np.testing.assert_array_equal(postings.rows, columns.indices)
    np.testing.assert_array_equal(postings.weights, columns.data)


def test_postings_of_nothing() -> None:
    postings = kernels_build.build_postings(random_rows(4, 3, 0.0, np.uint8), 3)
    assert postings.indptr.tolist() == [0, 0, 0, 0] and postings.n_columns == 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_merging_is_building_from_all_rows_left(dtype: Any) -> None:
    parts = [random_rows(n, width, 0.2, dtype, seed=n) for n, width in ((40, 30), (1, 30), (25, 45))]
    keep = [np.random.default_rng(part.n_rows).random(part.n_rows) < 0.7 for part in parts]
    ends = np.cumsum(np.concatenate(keep))
    numbers = np.split(np.where(np.concatenate(keep), ends - 1, -1).astype(np.int32), [40, 41])
    postings = [kernels_build.build_postings(part, width) for part, width in zip(parts, (30, 30, 45))]
    merged = kernels_build.merge_postings(postings, numbers)
    assert_same(merged, reference.merge_postings(postings, numbers))
    stacked = scipy.sparse.vstack([to_scipy(part, 45)[mask] for part, mask in zip(parts, keep)]).tocsc()
    np.testing.assert_array_equal(merged.indptr, stacked.indptr)
    np.testing.assert_array_equal(merged.rows, stacked.indices)
    np.testing.assert_array_equal(merged.weights, stacked.data)


@pytest.mark.parametrize("dtype", DTYPES)
@given(seed=st.integers(0, 10_000), share=st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_heaviest_entries(dtype: Any, seed: int, share: float) -> None:
    forward = random_rows(20, 60, 0.5, dtype, seed)
    lengths = (np.diff(forward.indptr) * share).astype(np.int64)
    assert_same(
        kernels_build.heaviest(*forward[:3], lengths),
        reference.heaviest(*forward[:3], lengths),
    )


def test_capping_leaves_short_columns_to_the_postings() -> None:
    postings = Postings(
        np.array([0, 4, 6]), np.array([1, 3, 5, 8, 0, 2], np.int32), np.array([9, 300, 300, 300, 1, 2], np.uint16)
    )
    capped = kernels_build.cap_postings(postings, 2)
    assert capped.indptr.tolist() == [0, 2, 2]
    assert capped.rows.tolist() == [3, 5] and capped.weights.tolist() == [300, 300]


def best_keys(module: Any, segments: list[tuple[Any, ...]], query: tuple[Any, Any], k: int, block: int) -> list[int]:
    columns, factors = query
    accumulators, cursors = np.zeros(block, np.int32), np.empty(2 * len(columns), np.int64)
    keys, state = np.empty(2 * k + 3, np.int64), np.array([0, NO_SCORE, 0])
    for postings, capped, live, n_rows, first_row in segments:
        module.score_rows(
            *postings, *capped, live, n_rows, first_row, columns, factors, accumulators, cursors, keys, k, state
        )
    assert not accumulators.any()
    return [*sorted(keys[: state[0]].tolist(), reverse=True)[:k], int(state[2])]


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    seed=st.integers(0, 10_000),
    k=st.integers(1, 40),
    cap=st.sampled_from([None, 1, 7, 1000]),
    masked=st.booleans(),
    density=st.sampled_from([0.02, 0.5]),
)
@settings(max_examples=40, deadline=None)
def test_scoring_equals_the_reference(
    dtype: Any, seed: int, k: int, cap: int | None, masked: bool, density: float
) -> None:
    generator = np.random.default_rng(seed)
    forward = random_rows(700, 50, density, dtype, seed)
    postings = kernels_build.build_postings(forward, 50)
    no_columns = (np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, dtype))
    capped = no_columns if cap is None else kernels_build.cap_postings(postings, cap)
    live = (generator.random(700) < 0.5).astype(np.uint8) if masked else np.zeros(0, np.uint8)
    columns = np.sort(generator.choice(60, 8, replace=False)).astype(np.int32)  # some are beyond the segment's 50
    factors = generator.integers(-20, 60, 8).astype(np.int32)
    segments = [(postings, capped, live, 700, 5000), (postings, capped, live, 700, 100)]
    found = best_keys(kernels, segments, (columns, factors), k, block=256)
    assert found == best_keys(reference, segments, (columns, factors), k, block=256)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rescoring_is_the_dot_product(dtype: Any) -> None:
    forward = random_rows(50, 40, 0.4, dtype)
    spread = np.zeros(40, np.int32)
    spread[[3, 7, 31]] = [5, -2, 90]
    rows = np.array([0, 49, 7, 7, 12])
    scores, expected = np.empty(5, np.int64), np.empty(5, np.int64)
    kernels.rescore_rows(*forward[:3], rows, spread, scores)
    reference.rescore_rows(*forward[:3], rows, spread, expected)
    np.testing.assert_array_equal(scores, expected)
    np.testing.assert_array_equal(scores, (to_scipy(forward, 40) @ spread.astype(np.int64))[rows])


def test_read_only_arrays_are_taken_as_they_are() -> None:
    forward = random_rows(30, 20, 0.3, np.uint8)
    for array in forward[:3]:
        array.flags.writeable = False
    n_compiled = len(kernels.rescore_rows.signatures)
    kernels.rescore_rows(*forward[:3], np.arange(3), np.ones(20, np.int32), np.empty(3, np.int64))
    assert len(kernels.rescore_rows.signatures) == n_compiled
