"""How long a user waits: a cold `saelex demo` on an index that exists, and a warm query, with and without its reasons.

    python benchmarks/demo.py --json demo.json

The index is the demo's own, made by `saelex demo` if it is not there yet.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from report import Report
from saelex import Encoder
from saelex.cli.demo import QUESTIONS, demo_path, open_demo

SAELEX = [sys.executable, "-m", "saelex"]


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    """Median wall time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="processes started for each cold figure")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args()
    report = Report("demo")
    encoder = Encoder.load("saelex-minilm")
    with open_demo(demo_path(encoder), encoder) as index:
        index.search(QUESTIONS["en"][0])[0].explain()
        questions = list(QUESTIONS["en"]) * 20

        def search() -> None:
            index.search(questions.pop(), 5)

        def explained() -> None:
            for hit in index.search(questions.pop(), 5):
                hit.explain()

        report.add("warm_query_ms", 1000 * median_seconds(search, 40), "ms", 50, "5 hits")
        report.add("warm_explained_ms", 1000 * median_seconds(explained, 40), "ms", None, "5 hits with their reasons")
    for metric, arguments, goal in (("demo_second_run_s", ["demo", QUESTIONS["en"][0]], 5), ("help_s", ["--help"], 1)):
        command = [*SAELEX, *arguments]
        seconds = median_seconds(lambda: subprocess.run(command, check=True, capture_output=True), options.repeats)  # noqa: B023
        report.add(metric, seconds, "s", goal, "whole process")
    command = [sys.executable, "-c", "import saelex"]
    seconds = median_seconds(lambda: subprocess.run(command, check=True), options.repeats)
    report.add("import_s", seconds, "s", 1, "whole process")
    report.print()
    if options.json:
        report.write(options.json)


if __name__ == "__main__":
    main()
