"""The claims of SPLARE and SAE-SPLADE, tried again: every model at one small budget, the same data, the same measure.

    python -m studies.claims recipes/study/claims.yaml --output runs/claims

Trains the SAEs and runs of the recipe, measures them, and writes claims.json, claims.md and plots into the output
folder. Nothing that is there is done again: SAEs, runs, and vectors. --only NAME... trains these runs and stops, so
that several processes share the work.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from studies.claims.measured import measure_runs
from studies.claims.report import write_claims
from studies.claims.runs import Runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs; goes on where it stopped")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the recipe")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="train these runs, measure nothing")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    runs = Runs(arguments.recipe, arguments.set, arguments.output)
    for name in arguments.only or runs.named:
        runs.train(name)
    if not arguments.only:
        write_claims(measure_runs(runs), arguments.output)


if __name__ == "__main__":
    main()
