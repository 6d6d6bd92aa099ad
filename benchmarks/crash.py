"""Crash safety: a writing process killed at random instants, and faults at every call that a commit is made of.

    python benchmarks/crash.py --kills 1000 --json runs/crash.json
    python benchmarks/crash.py --minutes 30

After each kill every committed document must be there, by id and by search, nothing half-written may show, and the
integrity check must pass. Then each change of an index (create, add, update, delete, merge, fill, label) is made again
and again, and each time another one of its file-system calls is refused, interrupted, killed or cut off from power,
before or after it has done its work; see `tests/index/faults.py`. `tests/index/disk/test_durability.py` checks the
order of the syncs.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from report import Report

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.index.crashing import Killed, crash_repeatedly
from tests.index.faults import CHANGES, FAULTS, inject

_ROUND = 100  # kills of one index, which grows with each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="how many times the writer is killed")
    parser.add_argument("--stride", type=int, default=1, help="of the faults try only every so manieth; 0 for none")
    parser.add_argument("--minutes", type=float, default=0, help="begin anew, with other instants, until they are over")
    parser.add_argument("--seed", type=int, default=0, help="of the instants")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    arguments = parser.parse_args()
    start = time.perf_counter()
    kills: list[Killed] = []
    faults: Counter[tuple[str, str]] = Counter()
    lost: list[str] = []
    for turn in itertools.count():
        kill(arguments.kills, arguments.seed + 1000 * turn, kills, lost)
        if arguments.stride:
            fault(arguments.stride, faults, lost)
        if lost or time.perf_counter() - start >= 60 * arguments.minutes:
            break
    report = Report("crash safety")
    report.add("crash_kills", len(kills), "kills survived", goal=arguments.kills)
    report.add("crash_between_commit_and_reply", sum(killed.committed for killed in kills), "kills")
    for change in CHANGES:
        found = sum(n for (name, _), n in faults.items() if name == change)
        report.add(f"crash_faults_{change}", found, "faults survived")
    for name in FAULTS:
        found = sum(n for (_, kind), n in faults.items() if kind == name)
        report.add(f"crash_faults_{name.replace(' ', '_').replace('/', '_')}", found, "faults survived")
    report.add("crash_failures", len(lost), "indexes damaged", goal=0)
    report.add("crash_wall", time.perf_counter() - start, "s")
    report.print()
    if arguments.json:
        report.write(arguments.json)
    if lost:
        raise SystemExit(1)


def kill(number: int, seed: int, kills: list[Killed], lost: list[str]) -> None:
    """So many kills, each round of them on an index of its own."""
    for first in range(0, number, _ROUND):
        with tempfile.TemporaryDirectory() as folder:
            try:
                kills.extend(crash_repeatedly(Path(folder), min(_ROUND, number - first), seed + first))
            except AssertionError as error:
                lost.append(f"after kill {len(kills) + 1}: {error}")
                print(lost[-1])
                return


def fault(stride: int, faults: Counter[tuple[str, str]], lost: list[str]) -> None:
    """All faults, or every so manieth."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            for outcome in inject(Path(folder), stride=stride):
                faults[outcome.change, outcome.fault] += 1
        except AssertionError as error:
            lost.append(str(error))
            print(lost[-1])


if __name__ == "__main__":
    main()
