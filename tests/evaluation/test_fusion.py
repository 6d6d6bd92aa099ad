from __future__ import annotations

import pytest

from saelex.errors import InputError
from saelex.evaluation.fusion import reciprocal_rank_fusion


def test_by_hand() -> None:
    words = {"q": {"a": 9.0, "b": 5.0, "c": 1.0}, "only words": {"z": 1.0}}
    dense = {"q": {"c": 0.9, "a": 0.8, "d": 0.7}}
    fused = reciprocal_rank_fusion([words, dense])
    assert fused["q"] == pytest.approx({"a": 1 / 61 + 1 / 62, "c": 1 / 63 + 1 / 61, "b": 1 / 62, "d": 1 / 63})
    assert list(fused["q"]) == ["a", "c", "b", "d"]
    assert fused["only words"] == {"z": 1 / 61}
    assert reciprocal_rank_fusion([words, dense], k=0, depth=1)["q"] == {"a": 1 + 1 / 2}


def test_ties_go_to_the_smaller_id_in_the_runs_and_in_the_fusion() -> None:
    # b and a are equal in the first run: a has rank 1 there; in the sums a and c are then equal
    fused = reciprocal_rank_fusion([{"q": {"b": 2.0, "a": 2.0, "c": 1.0}}, {"q": {"c": 3.0, "x": 2.0, "a": 1.0}}])
    assert list(fused["q"])[:2] == ["a", "c"]
    assert fused["q"]["a"] == fused["q"]["c"] == pytest.approx(1 / 61 + 1 / 63)
    # sums of the same ranks in any order are the same number
    runs = [{"q": {"a": 1.0}}, {"q": {"x": 2.0, "a": 1.0}}, {"q": {"x": 3.0, "y": 2.0, "a": 1.0}}]
    one, other = (reciprocal_rank_fusion(order)["q"]["a"] for order in (runs, runs[::-1]))
    assert one == other


def test_refused() -> None:
    with pytest.raises(InputError, match="no runs"):
        reciprocal_rank_fusion([])
    with pytest.raises(InputError, match="from 0 up"):
        reciprocal_rank_fusion([{}], k=-1)
    with pytest.raises(InputError, match="at least one document is kept, not -1"):
        reciprocal_rank_fusion([{"q": {"a": 1.0, "b": 0.5}}], depth=-1)
