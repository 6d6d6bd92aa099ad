"""The three searches against scipy on the same integers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from saelex.errors import InputError
from saelex.index.disk.pruning import first_step_postings
from saelex.index.kernels.arrays import ForwardRows
from saelex.index.kernels.build import build_postings, cap_postings
from saelex.index.modes import (
    SegmentView,
    TopRows,
    heaviest_terms,
    search_capped,
    search_exact,
    search_two_step,
)

N_ROWS, N_COLUMNS = 3000, 200


@pytest.fixture(scope="module")
def matrix() -> Any:
    generator = np.random.default_rng(7)
    frequency = 0.4 / np.arange(1, N_COLUMNS + 1) ** 0.5
    dense = (generator.random((N_ROWS, N_COLUMNS)) < frequency) * generator.integers(1, 256, (N_ROWS, N_COLUMNS))
    return scipy.sparse.csr_array(dense.astype(np.int64))


@pytest.fixture(scope="module")
def queries() -> list[tuple[Any, Any]]:
    generator = np.random.default_rng(8)
    return [
        (np.sort(generator.choice(N_COLUMNS, 12, replace=False)).astype(np.int32), generator.integers(1, 50, 12))
        for _ in range(20)
    ]


def segments_of(matrix: Any, borders: list[int], cap: int = 100, dtype: Any = np.uint8) -> list[SegmentView]:
    """Segments between the borders; each is only as wide as its rows need."""
    views = []
    for first, last in pairwise(borders):
        part = matrix[first:last].sorted_indices()
        forward = ForwardRows(part.indptr.astype(np.int64), part.indices.astype(np.int32), part.data.astype(dtype))
        postings = build_postings(forward, int(part.indices.max(initial=-1)) + 1)
        views.append(
            SegmentView(
                postings,
                first,
                last - first,
                forward=forward,
                capped=cap_postings(postings, cap),
                first_step=first_step_postings(forward, postings.n_columns, 20),
            )
        )
    return views


def exact(matrix: Any, query: tuple[Any, Any], k: int, live: Any = None) -> list[tuple[int, int]]:
    vector = np.zeros(N_COLUMNS, np.int64)
    vector[query[0]] = query[1]
    scores = matrix @ vector
    if live is not None:
        scores = np.where(live, scores, 0)
    order = np.lexsort((np.arange(N_ROWS), -scores))[:k]
    return [(int(row), int(scores[row])) for row in order if scores[row] > 0]


def pairs(found: TopRows) -> list[tuple[int, int]]:
    return list(zip(found.rows.tolist(), found.scores.tolist()))


@pytest.mark.parametrize("borders", [[0, N_ROWS], [0, 1, 1000, 1000, 2999, N_ROWS]])
@pytest.mark.parametrize("k", [1, 10, 5000])
def test_exact_equals_scipy_over_any_split(matrix: Any, queries: Any, borders: list[int], k: int) -> None:
    segments = segments_of(matrix, borders)
    for query in queries:
        found = search_exact(segments[::-1], *query, k)
        assert pairs(found) == exact(matrix, query, k)
        assert found.postings == sum(int((matrix[:, [c]] != 0).sum()) for c in query[0])


def test_filters_and_tombstones(matrix: Any, queries: Any) -> None:
    live = (np.random.default_rng(3).random(N_ROWS) < 0.02).astype(np.uint8)
    segments = [
        replace(s, live=live[s.first_row : s.first_row + s.n_rows]) for s in segments_of(matrix, [0, 700, N_ROWS])
    ]
    for query in queries:
        expected = exact(matrix, query, 10, live)
        assert pairs(search_exact(segments, *query, 10)) == expected
        # the mask acts before candidates are chosen: 60 live rows all fit, so their scores come out exactly
        assert pairs(search_capped(segments, *query, 10, candidates=100))[:5] == expected[:5]


def test_negative_weights_push_down_and_hits_score_above_zero(matrix: Any) -> None:
    query = (np.array([0, 1, 2], np.int32), np.array([3, -5, 4], np.int32))
    expected = exact(matrix, query, N_ROWS)
    assert 0 < len(expected) < N_ROWS
    assert pairs(search_exact(segments_of(matrix, [0, N_ROWS]), *query, N_ROWS)) == expected


def test_capped_is_exact_where_nothing_is_cut(matrix: Any, queries: Any) -> None:
    segments = segments_of(matrix, [0, 1500, N_ROWS], cap=N_ROWS)
    for query in queries:
        assert pairs(search_capped(segments, *query, 10)) == exact(matrix, query, 10)


@pytest.mark.parametrize(
    ("search", "least"), [(search_capped, 0.9), (search_two_step, 0.6)], ids=["capped", "two_step"]
)
def test_approximate_searches_give_exact_scores_and_high_recall(
    matrix: Any, queries: Any, search: Any, least: float
) -> None:
    segments = segments_of(matrix, [0, 1500, N_ROWS], cap=60)
    recalls = []
    for query in queries:
        found, scores = search(segments, *query, 10), dict(exact(matrix, query, N_ROWS))
        assert all(scores[row] == score for row, score in pairs(found))
        assert found.postings < search_exact(segments, *query, 10).postings
        assert list(found.scores) == sorted(found.scores, reverse=True)
        recalls.append(len({row for row, _ in pairs(found)} & {row for row, _ in exact(matrix, query, 10)}) / 10)
    assert np.mean(recalls) >= least


def test_first_step_keeps_the_heaviest_and_saturates() -> None:
    forward = ForwardRows(np.array([0, 3, 4]), np.array([0, 2, 5, 1], np.int32), np.array([100, 7, 255, 1], np.uint8))
    postings = first_step_postings(forward, 6, document_terms=2)
    assert postings.rows.tolist() == [0, 1, 0]
    # 255 w / (w + 100), rounded
    assert postings.weights.tolist() == [128, 3, 183]
    assert postings.indptr.tolist() == [0, 1, 2, 2, 2, 2, 3]


def test_heaviest_terms_keep_their_order() -> None:
    columns, factors = heaviest_terms(np.array([2, 5, 6, 9], np.int32), np.array([4, -8, 1, 4], np.int32), 2)
    assert columns.tolist() == [2, 5] and factors.tolist() == [4, -8]


def test_no_segments_no_terms_no_hits(matrix: Any) -> None:
    nothing = np.zeros(0, np.int32)
    for search in (search_exact, search_capped, search_two_step):
        assert pairs(search([], np.array([1], np.int32), np.array([1], np.int32), 5)) == []
        assert pairs(search(segments_of(matrix, [0, N_ROWS]), nothing, nothing, 5)) == []


def test_sums_that_could_overflow_are_refused(matrix: Any) -> None:
    segments = segments_of(matrix, [0, N_ROWS], dtype=np.uint16)
    columns, largest = np.array([0, 1], np.int32), (2**31 - 1) // 65535
    search_exact(segments, columns, np.array([largest - 1, 1]), 5)
    with pytest.raises(InputError, match="overflow 32 bits"):
        search_exact(segments, columns, np.array([largest, 1]), 5)


def test_without_forward_rows_only_exact(matrix: Any, queries: Any) -> None:
    segments = [replace(s, forward=None, capped=None, first_step=None) for s in segments_of(matrix, [0, N_ROWS])]
    assert pairs(search_exact(segments, *queries[0], 10)) == exact(matrix, queries[0], 10)
    for search in (search_capped, search_two_step):
        with pytest.raises(InputError, match="without; search it exactly"):
            search(segments, *queries[0], 10)
