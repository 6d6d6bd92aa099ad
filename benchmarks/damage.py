"""Damage: copies of small indexes damaged at random, each answer compared with that of the whole index.

    python benchmarks/damage.py --damages 2000 --kinds segments
    python benchmarks/damage.py --damages 1 --first 417     # one trial again

Bits flipped, ranges zeroed or scribbled over, files cut, lengthened, mixed up, replaced and removed, at unchanged times
of change. Then all ways to search, reasons, filters, stored vectors, the check, adding and merging: a right answer or
one SaelexError of one line; never another answer, another error, a dead process or one that hangs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

from report import Report

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.index.damaging import FILES, damage_repeatedly


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--damages", type=int, default=2000, help="how many copies are damaged")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    parser.add_argument(
        "--kinds", type=lambda text: text.split(","), default=list(FILES), help=f"what is damaged: {','.join(FILES)}"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    arguments = parser.parse_args()
    if unknown := set(arguments.kinds) - set(FILES):
        parser.error(f"--kinds: there is no {', '.join(unknown)}; choose from {', '.join(FILES)}")
    start = time.perf_counter()
    faulty = noticed = 0
    with tempfile.TemporaryDirectory() as folder:
        trials = damage_repeatedly(
            Path(folder), arguments.damages, arguments.seed, arguments.kinds, first=arguments.first
        )
        for trial in tqdm(trials, total=arguments.damages, unit="damage", leave=False):
            noticed += bool(trial.refused)
            if trial.faults:
                faulty += 1
                print(f"{trial.number}: {trial.damage}", *trial.faults, sep="\n    ", flush=True)
    report = Report("damage")
    report.add("damages", arguments.damages, "copies damaged")
    report.add("damages_refused", noticed, "copies of which something was refused")
    report.add("damages_faulty", faulty, "copies with a wrong answer, error, death or hang", goal=0)
    report.add("damages_wall", time.perf_counter() - start, "s")
    report.print()
    if arguments.json:
        report.write(arguments.json)
    if faulty:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
