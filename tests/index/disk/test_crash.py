"""Kill the writer; `python -m benchmarks.crash` does it 100 times."""

from __future__ import annotations

from pathlib import Path

from tests.index.crashing import crash_repeatedly


def test_a_killed_writer_leaves_the_last_commit(tmp_path: Path) -> None:
    kills = list(crash_repeatedly(tmp_path, kills=15))
    assert kills[-1].operation > 5 and kills[-1].documents > 20
