"""Rot in the catalogue and the labels of an index: single bits, bytes, pages, headers, cut off files.

    python benchmarks/catalog_damage.py --damages 2000 --json runs/catalog-damage.json

Every answer must be the true one or one clear error, from a reader and after a writer; see
`tests/index/catalog_damaging.py`.
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
from tests.index.catalog_damaging import damages

FILES = ("catalog.sqlite", "concepts.sqlite")
_ROUND = 200  # damages of one seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--damages", type=int, default=2000, help="how many, of each file")
    parser.add_argument("--minutes", type=float, default=0, help="go on until they are over")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    arguments = parser.parse_args()
    start = time.perf_counter()
    outcomes: Counter[tuple[str, str]] = Counter()
    wrong = 0
    for seed in itertools.count(arguments.seed):
        for name in FILES:
            wrong += damage(name, min(_ROUND, arguments.damages), seed, outcomes)
        enough = min(sum(n for (file, _), n in outcomes.items() if file == name) for name in FILES)
        late = time.perf_counter() - start >= 60 * arguments.minutes
        if wrong or (late and (seed + 1 - arguments.seed) * _ROUND >= arguments.damages) or not enough:
            break
    report = Report("damaged catalogues")
    for (name, outcome), number in sorted(outcomes.items()):
        report.add(f"{name.split('.')[0]}_{outcome.replace(' ', '_')}", number, "damages")
    report.add("catalog_damage_wrong", wrong, "wrong answers or crashes", goal=0)
    report.add("catalog_damage_wall", time.perf_counter() - start, "s")
    report.print()
    if arguments.json:
        report.write(arguments.json)
    if wrong:
        raise SystemExit(1)


def damage(name: str, number: int, seed: int, outcomes: Counter[tuple[str, str]]) -> int:
    """Counts what came of so many damages; 1 when one of them gave a wrong answer or no error of ours."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            for damaged in damages(Path(folder), name, number, seed):
                outcomes[name, damaged.outcome] += 1
        except Exception as error:  # what is not of the family is as bad as a wrong answer
            print(f"{name}, seed {seed}: {type(error).__name__}: {error}")
            return 1
    return 0


if __name__ == "__main__":
    main()
