"""Aggregated scores and the false-negative filter, against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from saelex.errors import InputError
from saelex.training.mining.aggregation import Aggregation, min_max
from saelex.training.mining.false_negatives import FalseNegativeFilter
from saelex.training.mining.names import short_names

QUERY = np.array([0, 0, 0, 1, 1, 2])
FIRST = np.array([2.0, 4.0, 3.0, -8.0, -4.0, 5.0], np.float32)
SECOND = np.array([10.0, 10.0, 20.0, 1.0, 0.0, 7.0], np.float32)


def test_min_max_of_each_query() -> None:
    np.testing.assert_allclose(min_max(FIRST, QUERY), [0, 1, 0.5, 0, 1, 0])


def test_teachers_are_normalised_then_averaged() -> None:
    np.testing.assert_allclose(Aggregation().combine([FIRST, SECOND], QUERY), [0, 0.5, 0.75, 0.5, 0.5, 0])
    weighted = Aggregation(weights=(3.0, 1.0)).combine([FIRST, SECOND], QUERY)
    np.testing.assert_allclose(weighted, [0, 0.75, 0.625, 0.25, 0.75, 0])


def test_one_teacher_keeps_its_scores_unless_told() -> None:
    np.testing.assert_array_equal(Aggregation().combine([FIRST], QUERY), FIRST)
    np.testing.assert_allclose(Aggregation(normalise=True).combine([FIRST], QUERY), [0, 1, 0.5, 0, 1, 0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Aggregation(weights=(1.0, -1.0)), "--weights are numbers from 0"),
        (lambda: Aggregation(weights=(0.0,)), "not all 0"),
        (lambda: Aggregation(scale=0.0), "--scale is a number above 0"),
        (lambda: Aggregation(weights=(1.0,)).check(2), "--weights has 1 numbers for 2 teachers"),
        (lambda: FalseNegativeFilter(share=1.5), "--drop-above is a share"),
        (lambda: FalseNegativeFilter(margin=float("nan")), "--drop-margin is a number"),
    ],
)
def test_settings_without_a_meaning(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def false(
    rule: FalseNegativeFilter, scores: list[float], relevant: list[bool], query: list[int] | None = None
) -> list[bool]:
    queries = np.array(query or [0] * len(scores))
    return rule.false_negatives(np.array(scores, np.float32), np.array(relevant), queries).tolist()


def test_share_of_the_lowest_positive() -> None:
    rule = FalseNegativeFilter(share=0.9)  # bound 0.9 * 10 = 9
    assert false(rule, [12, 10, 9.1, 8.9, 13], [True, True, False, False, False]) == [False, False, True, False, True]
    # below zero: the bound is -10 - 0.1 * 10 = -11, still under the positive
    assert false(rule, [-10, -10.5, -11.5], [True, False, False]) == [False, True, False]


def test_margin_below_the_lowest_positive() -> None:
    rule = FalseNegativeFilter(margin=3.0)
    assert false(rule, [1, -1.9, -2.1, 2], [True, False, False, False]) == [False, True, False, True]
    assert false(FalseNegativeFilter(0.5, 3.0), [4, 1.5, 0.5], [True, False, False]) == [False, True, False]


def test_every_query_has_its_own_bound_and_none_without_a_scored_positive() -> None:
    rule = FalseNegativeFilter(margin=0.0)
    scores, relevant = [1, 5, 6, 5, 9, np.nan, 9], [True, False, True, False, False, True, False]
    assert false(rule, scores, relevant, [0, 0, 1, 1, 2, 3, 3]) == [False, True, False, False, False, False, False]
    assert not any(false(FalseNegativeFilter(), scores, relevant, [0, 0, 1, 1, 2, 3, 3]))


def test_short_names_hide_the_path_and_stay_apart(tmp_path: Path) -> None:
    for name in ("a/model", "b/model", "c/other"):
        (tmp_path / name).mkdir(parents=True)
    models = [str(tmp_path / name) for name in ("a/model", "b/model")]
    assert short_names([*models, "owner/model", "bm25"]) == ["a/model", "b/model", "owner/model", "bm25"]
    assert short_names([models[0], str(tmp_path / "c/other")]) == ["model", "other"]
    assert short_names(["owner/model", models[1]]) == ["owner/model", "model"]
