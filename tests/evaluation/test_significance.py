from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from saelex.errors import InputError
from saelex.evaluation.significance import (
    PERMUTATIONS,
    compare_systems,
    holm,
    paired_t_test,
    randomisation_test,
    wins_losses_ties,
)


def pairs_of_values(n: int, seed: int, shift: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    first = generator.uniform(0, 1, n)
    return first, np.clip(first - shift + generator.normal(0, 0.2, n), 0, 1)


@pytest.mark.parametrize("n", [2, 5, 60])
def test_t_test_by_its_formula(n: int) -> None:
    first, second = pairs_of_values(n, seed=n)
    difference = first - second
    t = difference.mean() / (difference.std(ddof=1) / math.sqrt(n))
    assert paired_t_test(first, second) == pytest.approx(2 * stats.t.sf(abs(t), n - 1), rel=1e-9)
    assert paired_t_test(first, second) == pytest.approx(stats.ttest_rel(first, second).pvalue, rel=1e-12)


def test_t_test_where_the_statistic_is_not_defined() -> None:
    assert paired_t_test([0.5], [0.1]) == 1.0
    assert paired_t_test([0.5, 0.25], [0.5, 0.25]) == 1.0
    assert paired_t_test([0.75, 0.5], [0.5, 0.25]) == 0.0


def test_differences_by_rounding_are_none() -> None:
    third = [0.1 + 0.2] * 9  # 0.30000000000000004
    assert paired_t_test(third, [0.3] * 9) == 1.0
    assert randomisation_test(np.subtract(third, 0.3)).tolist() == [1.0]
    values = np.array([0.3, 0.4, 0.5, 0.8])
    assert len(set(values - (values - 0.1))) > 1  # one difference, rounded in several ways
    assert paired_t_test(values, values - 0.1) == 0.0
    (one,) = compare_systems(
        {"a": {"AP": dict(zip("123456789", third))}, "b": {"AP": dict.fromkeys("123456789", 0.3)}}, [("a", "b")]
    )
    assert (one.t_p, one.randomisation_p, one.wins, one.losses, one.ties) == (1.0, 1.0, 0, 0, 9)


def test_few_queries_count_every_flip() -> None:
    differences = np.array([0.5, -0.25, 0.0, 0.125, 1.0, 0.0, -0.5, 0.75])
    means = [abs(np.dot(signs, differences)) for signs in product((1, -1), repeat=len(differences))]
    wanted = np.mean([mean >= abs(differences.sum()) for mean in means])
    assert randomisation_test(differences).tolist() == [wanted]
    # sums that are equal but for rounding count as equal: of ten times 0.1, only the two that are all of one sign
    assert randomisation_test([0.1] * 10 + [0.0] * 20).tolist() == [2 / 1024]
    assert randomisation_test([[0.0, 0.0], [1.0, 0.0]]).tolist() == [1.0, 1.0]


def test_many_queries_equal_scipys_permutation_test() -> None:
    first, second = pairs_of_values(40, seed=3)
    reference = stats.permutation_test(
        (first, second),
        lambda one, other, axis: np.mean(one - other, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=np.random.default_rng(7),
    )
    (found,) = randomisation_test(first - second)
    assert 0.001 < found < 0.5
    assert found == pytest.approx(float(reference.pvalue), abs=5 * math.sqrt(found / 20_000))


def test_sampled_flips_are_seeded_and_never_give_zero() -> None:
    clear, none = np.linspace(0.1, 0.9, 30), np.tile([0.5, -0.5], 15)
    found = randomisation_test([clear, none])
    assert found[0] == 1 / (PERMUTATIONS + 1)
    assert found[1] == 1.0  # the observed mean is 0: no flip is nearer
    noise = np.random.default_rng(0).normal(0.05, 0.3, (3, 50))
    together = randomisation_test(noise, permutations=2000)
    alone = [float(randomisation_test(row, permutations=2000)[0]) for row in noise]
    assert together.tolist() == alone  # whatever else is tested, and again
    assert randomisation_test(noise[0], permutations=2000, seed=1)[0] != alone[0]
    with pytest.raises(InputError, match="at least one permutation"):
        randomisation_test(noise, permutations=0)


def test_blocks_do_not_change_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(1).normal(0.05, 0.3, 64)
    whole = randomisation_test(noise, permutations=5000)
    monkeypatch.setattr("saelex.evaluation.significance._BLOCK", 64 * 100)
    assert randomisation_test(noise, permutations=5000).tolist() == whole.tolist()


def test_p_values_of_equal_systems_are_uniform() -> None:
    noise = np.random.default_rng(2).normal(0, 1, (400, 30))
    found = randomisation_test(noise, permutations=1000)
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_of_a_thousand_queries_the_t_test_says_the_same() -> None:
    rows = np.random.default_rng(0).normal(0.01, 0.3, (6, 1000))
    expected = stats.ttest_1samp(rows, 0, axis=1).pvalue
    np.testing.assert_allclose(randomisation_test(rows), expected, atol=0.01)


def test_holm_by_hand() -> None:
    # sorted: 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.5 x 1
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.04, 0.04, 0.9]) == pytest.approx([0.12, 0.12, 0.9])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2] and holm([]) == []


def test_comparisons_of_three_systems() -> None:
    generator = np.random.default_rng(5)
    queries = [f"q{i}" for i in range(30)]
    values = {name: dict(zip(queries, generator.uniform(0, 1, 30).tolist())) for name in "abc"}
    values["c"] = {query: 0.6 * value for query, value in values["c"].items() if query != "q3"}  # q3 is not answered
    systems = {
        name: {"P@5": of, "AP": {query: of.get(query, 0) / 2 for query in queries}} for name, of in values.items()
    }
    pairs = [("b", "a"), ("c", "a")]
    found = compare_systems(systems, pairs)
    assert [(one.measure, one.first, one.second) for one in found] == [
        ("P@5", "b", "a"),
        ("P@5", "c", "a"),
        ("AP", "b", "a"),
        ("AP", "c", "a"),
    ]
    columns = {name: np.array([of.get(query, 0.0) for query in queries]) for name, of in values.items()}
    ps = [float(stats.ttest_rel(columns[one], columns[other]).pvalue) for one, other in pairs]
    assert [one.t_p for one in found] == pytest.approx(ps + ps)
    assert 2 * ps[1] < ps[0]  # the smaller one counts twice
    assert [one.t_holm for one in found[:2]] == pytest.approx([ps[0], 2 * ps[1]])
    raw = [one.randomisation_p for one in found[:2]]
    assert [one.randomisation_holm for one in found[:2]] == holm(raw)
    assert found[1].difference == pytest.approx(columns["c"].mean() - columns["a"].mean())
    assert found[3].difference == pytest.approx(found[1].difference / 2)
    assert (found[1].wins, found[1].losses, found[1].ties) == (
        int((columns["c"] > columns["a"]).sum()),
        int((columns["c"] < columns["a"]).sum()),
        0,
    )
    assert found[1].wins + found[1].losses == 30


def test_comparisons_that_make_no_sense() -> None:
    systems = {"a": {"AP": {"q": 1.0}}, "b": {"P@5": {"q": 1.0}}, "c": {"AP": {}}}
    with pytest.raises(InputError, match="no system 'x' to compare; there are a, b, c"):
        compare_systems(systems, [("a", "x")])
    with pytest.raises(InputError, match="b: has no AP"):
        compare_systems(systems, [("a", "b")])
    with pytest.raises(InputError, match="no query"):
        compare_systems({"c": {"AP": {}}, "d": {"AP": {}}}, [("c", "d")])
    assert compare_systems(systems, []) == []


def test_wins_losses_and_ties() -> None:
    assert wins_losses_ties([0.5, -0.1, 0.0, 1e-12, 0.2]) == (2, 1, 2)
