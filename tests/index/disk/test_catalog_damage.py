"""Random damages of the catalogue and of the labels; `python benchmarks/catalog_damage.py` tries as many as told."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tests.index.catalog_damaging import damages


@pytest.mark.parametrize(("name", "number"), [("catalog.sqlite", 42), ("concepts.sqlite", 14)])
def test_a_damage_is_an_error_or_makes_no_difference(tmp_path: Path, name: str, number: int) -> None:
    outcomes = Counter(damaged.outcome for damaged in damages(tmp_path, name, number, seed=1))
    assert outcomes["error"] > number / 4
    assert name != "concepts.sqlite" or set(outcomes) == {"error"}  # to the last bit
