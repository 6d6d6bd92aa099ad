"""Faults at every call that a commit is made of; `python benchmarks/crash.py` tries all of them, this a share."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.index.faults import CHANGES, FAULTS, inject


@pytest.mark.parametrize("change", list(CHANGES))
def test_a_fault_at_any_call_leaves_the_last_commit(tmp_path: Path, change: str) -> None:
    outcomes = list(
        inject(tmp_path, [change], stride=31 if change in ("add", "update", "reweigh", "merge", "fill") else 7)
    )
    assert {outcome.change for outcome in outcomes} == {change}
    assert len({outcome.fault for outcome in outcomes}) >= min(len(outcomes), len(FAULTS)) - 1
