"""Whether a difference between two runs is more than chance: paired tests over queries, corrected for their number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saelex.errors import InputError
from saelex.evaluation.results import Comparison

PERMUTATIONS = 100_000
ALPHA = 0.05
"""Below this a corrected p-value is called significant in tables."""

_EXACT = 16  # queries with a difference, up to which all 2^n sign flips are counted: fewer than PERMUTATIONS
_BLOCK = 2**21  # signs that are in memory at once, as float64: 16 MiB
_EQUAL = 1e-9  # two values of a measure that are closer than this are one number, rounded in two ways

Values = Mapping[str, Mapping[str, float]]
"""measure -> query id -> value, as in `SystemResult.per_query`."""


def compare_systems(systems: Mapping[str, Values], pairs: Sequence[tuple[str, str]]) -> list[Comparison]:
    """Comparisons of pairs of systems under every measure that the systems have, measure by measure.

    A query that one system has no value for counts as 0 there. The p-values of one measure are Holm-corrected over the
    pairs. Raises InputError for a system that is not there, or for systems of different measures.
    """
    unknown = sorted({name for pair in pairs for name in pair} - systems.keys())
    if unknown:
        raise InputError(f"no system {unknown[0]!r} to compare; there are {', '.join(systems)}")
    measures = list(dict.fromkeys(measure for values in systems.values() for measure in values))
    found: list[Comparison] = []
    for measure in measures if pairs else ():
        lacking = [name for name, values in systems.items() if measure not in values]
        if lacking:
            raise InputError(f"{lacking[0]}: has no {measure}, which other systems have; measure them alike")
        found += _compare({name: values[measure] for name, values in systems.items()}, pairs, measure)
    return found


def _compare(
    systems: Mapping[str, Mapping[str, float]], pairs: Sequence[tuple[str, str]], measure: str
) -> list[Comparison]:
    queries = sorted(set[str]().union(*systems.values()))
    if not queries:
        raise InputError(f"{measure}: no query to compare systems on")
    values = {name: np.array([of.get(query, 0.0) for query in queries]) for name, of in systems.items()}
    differences = np.stack([values[first] - values[second] for first, second in pairs])  # [pairs, queries]
    t_ps = [paired_t_test(values[first], values[second]) for first, second in pairs]
    randomisation_ps = randomisation_test(differences).tolist()
    corrected = zip(t_ps, randomisation_ps, holm(t_ps), holm(randomisation_ps))
    return [
        Comparison(measure, first, second, float(row.mean()), *ps, *wins_losses_ties(row))
        for (first, second), row, ps in zip(pairs, differences, corrected)
    ]


def paired_t_test(first: ArrayLike, second: ArrayLike) -> float:
    """Two-sided p-value of Student's paired t-test over queries, [queries] both; scipy's.

    1 where there is nothing to test: a single query, or no difference on any of them. 0 where all differ by the same:
    the statistic is infinite.
    """
    from scipy import stats

    difference = _exact(np.asarray(first, np.float64) - np.asarray(second, np.float64))
    if len(difference) < 2 or not difference.any():
        return 1.0
    if np.ptp(difference) <= _EQUAL:
        return 0.0
    return float(stats.ttest_1samp(difference, 0.0).pvalue)


def randomisation_test(
    differences: ArrayLike, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> NDArray[np.float64]:
    """Two-sided p-values of Fisher's paired randomisation test, [comparisons] (Smucker and others, CIKM 2007).

    differences: of two systems, query by query, [comparisons, queries]. Under the null hypothesis the sign of each is
    chance: p is the share of sign flips whose mean is as far from 0 as the observed one, or farther.

    With at most 16 queries that differ, all flips are counted. Otherwise `permutations` of them are drawn, with the
    seed, and p = (count + 1) / (permutations + 1), so that it is never 0. Every row is tested as if it came alone.
    """
    rows = np.atleast_2d(_exact(differences))
    if permutations < 1:
        raise InputError(f"a randomisation test draws at least one permutation, not {permutations}")
    p_values = np.ones(len(rows))
    few = (rows != 0).sum(1) <= _EXACT
    for i in np.flatnonzero(few):
        changed = rows[i][rows[i] != 0]
        counted = _as_extreme(changed[None], _all_flips(len(changed)))
        p_values[i] = counted[0] / 2 ** len(changed)
    if not few.all():
        counted = _as_extreme(rows[~few], _drawn_flips(rows.shape[1], permutations, seed))
        p_values[~few] = (counted + 1) / (permutations + 1)
    return p_values


def _as_extreme(rows: NDArray[np.float64], blocks: Iterator[NDArray[np.uint8]]) -> NDArray[np.int64]:
    """How many of the flips give each row a sum at least as far from 0 as its own."""
    totals = rows.sum(1)  # [comparisons]
    # sums of the same numbers in another order differ in their last digits; that is no difference
    bounds = np.abs(totals) - 1e-12 * np.abs(rows).sum(1)
    counted = np.zeros(len(rows), np.int64)
    for flips in blocks:
        sums = totals - 2.0 * (flips.astype(np.float64) @ rows.T)  # [flips, comparisons]
        counted += (np.abs(sums) >= bounds).sum(0)
    return counted


def _all_flips(n: int) -> Iterator[NDArray[np.uint8]]:
    """All 2^n ways to flip n signs, in one block [2^n, n]; 1 is flipped."""
    numbers = np.arange(2**n, dtype=np.uint32)
    yield (numbers[:, None] >> np.arange(n, dtype=np.uint32) & 1).astype(np.uint8)


def _drawn_flips(n: int, permutations: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """`permutations` ways to flip n signs, in blocks [flips, n] that bound the memory."""
    generator = np.random.default_rng(seed)
    most = max(1, _BLOCK // n)
    for start in range(0, permutations, most):
        size = min(most, permutations - start), (n + 7) // 8
        yield np.unpackbits(generator.integers(0, 256, size, np.uint8), axis=1, count=n)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's step-down method (1979), in the order given.

    The i-th smallest of m is multiplied by m - i + 1, is no smaller than the one before it, and at most 1.
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def wins_losses_ties(differences: ArrayLike) -> tuple[int, int, int]:
    """On how many queries the first system is better, worse, equal; [queries]. Equal is closer than 1e-9."""
    found = _exact(differences)
    return int((found > 0).sum()), int((found < 0).sum()), int((found == 0).sum())


def _exact(differences: ArrayLike) -> NDArray[np.float64]:
    """The differences, 0 where they are but rounding: equal systems must not differ significantly by that."""
    found = np.asarray(differences, np.float64)
    return np.where(np.abs(found) <= _EQUAL, 0.0, found)
