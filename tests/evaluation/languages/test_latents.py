from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from saelex.errors import InputError
from saelex.evaluation.languages.latents import active_latents, jaccard, latents_by_language
from saelex.vectors import SparseRows


def share(one: set[int], other: set[int]) -> float:
    return len(one & other) / len(one | other) if one | other else 0.0


def sets_of(rows: NDArray[np.float64]) -> list[set[int]]:
    return [set(np.flatnonzero(row).tolist()) for row in rows]


def drawn(n: int, latents: int, seed: int) -> NDArray[np.float64]:
    random = np.random.default_rng(seed)
    return random.random((n, latents)) * (random.random((n, latents)) < 0.2)


def test_jaccard_equals_that_of_sets() -> None:
    first, second = drawn(40, 30, 0), drawn(40, 30, 1)
    first[3], second[3], second[4] = 0, 0, 0  # neither has any; one has none
    second[5] = 2 * first[5]  # the same latents at other weights
    wanted = [share(*pair) for pair in zip(sets_of(first), sets_of(second))]
    found = jaccard(SparseRows.from_dense(first), SparseRows.from_dense(second))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert (found[3], found[4], found[5]) == (0, 0, 1)


def test_a_document_has_the_latents_of_all_its_passages() -> None:
    rows = drawn(6, 20, 2)
    rows[2] = rows[1]
    found = active_latents(SparseRows.from_dense(rows), np.array([0, 1, 3]), [1, 2])  # documents of 1, 2 and 3 passages
    np.testing.assert_array_equal(found.toarray(), [(rows[1:3] > 0).any(0), (rows[3:] > 0).any(0)])


def test_overlap_with_translations_and_by_chance() -> None:
    languages = {"de": drawn(9, 30, 3), "en": drawn(9, 30, 4), "zh": drawn(9, 30, 5)}
    languages["en"][:, :10] = languages["de"][:, :10]  # what a text shares with its translation
    every = np.arange(9)
    found = latents_by_language(
        {code: active_latents(SparseRows.from_dense(rows), every, every.tolist()) for code, rows in languages.items()}
    )
    assert [(one.first, one.second) for one in found.overlaps] == [("de", "en"), ("de", "zh"), ("en", "zh")]
    assert found.documents == 9
    for one in found.overlaps:
        first, second = sets_of(languages[one.first]), sets_of(languages[one.second])
        grid = np.array([[share(a, b) for b in second] for a in first])
        assert one.translations == pytest.approx(np.diag(grid).mean())
        assert one.others == pytest.approx(grid[~np.eye(9, dtype=bool)].mean())
    assert found.overlaps[0].translations > found.overlaps[0].others + 0.1


def test_latents_that_one_language_keeps() -> None:
    """Of 20 documents: one latent everywhere, one German's but for 2 of 20 firings, one but for 3, one English's, and
    one that fires too seldom to be told."""
    rows = {code: np.zeros((20, 5)) for code in ("de", "en")}
    rows["de"][:, 0] = rows["en"][:, 0] = 1
    rows["de"][:18, 1], rows["en"][:2, 1] = 1, 1
    rows["de"][:17, 2], rows["en"][:3, 2] = 1, 1
    rows["en"][:10, 3] = 1
    rows["en"][:9, 4] = 1
    every = np.arange(20)
    found = latents_by_language(
        {code: active_latents(SparseRows.from_dense(one), every, every.tolist()) for code, one in rows.items()}
    )
    assert (found.counted, found.bound) == (4, {"de": 1, "en": 1})
    assert found.bound_share == 0.5
    assert found.bound_firings == pytest.approx((20 + 10) / (40 + 20 + 20 + 10))


def test_one_language_is_none_to_compare() -> None:
    one = active_latents(SparseRows.from_dense(drawn(4, 6, 6)), np.arange(4), range(4))
    with pytest.raises(InputError, match="across two languages or more"):
        latents_by_language({"de": one})
