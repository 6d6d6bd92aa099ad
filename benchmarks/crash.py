"""Crash safety: a writing process killed at random instants.

    python benchmarks/crash.py --kills 100 --json runs/crash.json

After each kill every committed document must be there, by id and by search, nothing half-written may show, and the
integrity check must pass. `tests/index/test_durability.py` checks what SIGKILL cannot show: the order of the syncs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from report import Report

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.index.crashing import Killed, crash_repeatedly


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="how many times the writer is killed")
    parser.add_argument("--seed", type=int, default=0, help="of the instants")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    arguments = parser.parse_args()
    start = time.perf_counter()
    kills: list[Killed] = []
    lost = 0
    with tempfile.TemporaryDirectory() as folder:
        try:
            kills.extend(crash_repeatedly(Path(folder), arguments.kills, arguments.seed))
        except AssertionError as error:
            lost = 1
            print(f"after kill {len(kills) + 1}: {error}")
    report = Report("crash safety")
    report.add("crash_kills", len(kills), "kills survived", goal=arguments.kills)
    report.add("crash_failures", lost, "indexes damaged", goal=0)
    report.add("crash_between_commit_and_reply", sum(killed.committed for killed in kills), "kills")
    report.add("crash_operations", kills[-1].operation if kills else 0, "operations acknowledged")
    report.add("crash_documents", kills[-1].documents if kills else 0, "documents at the end")
    report.add("crash_wall", time.perf_counter() - start, "s")
    report.print()
    if arguments.json:
        report.write(arguments.json)
    if lost:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
