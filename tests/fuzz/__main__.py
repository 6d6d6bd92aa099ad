"""Fuzzing of every reader for as long as it is told: python -m tests.fuzz --inputs 1000000, or --seconds 600.

Prints each cause of failure once, with the command that repeats it, and a table at the end. The status is 1 where there
was a failure. --state keeps the numbers of inputs done in a file, so that the next call goes on behind them.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["SAELEX_CACHE"] = tempfile.mkdtemp(prefix="saelex-fuzz-cache-")

from tests.fuzz.fuzzing import SECONDS, Bench, Failure, benches, causes, next_bench
from tests.fuzz.readers import READERS


def main() -> int:
    options = _options()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    readers = [reader for reader in READERS if not options.reader or options.reader in reader.name]
    failures: list[Failure] = []
    seen: set[str] = set()
    with benches(readers) as held:
        first = _begin(held, options)
        began, done = time.monotonic(), 0
        while not _enough(done, time.monotonic() - began, options):
            bench = next_bench(held)
            number = first[bench.reader.name] + bench.counts.inputs
            faulthandler.dump_traceback_later(SECONDS * 2, exit=True)  # what holds the interpreter is not interrupted
            failure = bench.run(options.seed, number)
            done += 1
            if failure is not None:
                failures.append(failure)
                if (cause := f"{failure.reader}: {failure.kind}") not in seen:
                    seen.add(cause)
                    _say(f"FAILED {cause}\n  {failure.file}; again: --reader {failure.reader!r} --seed {options.seed} "
                         f"--first {failure.number} --inputs 1")  # fmt: skip
                    if options.trace:
                        _say(failure.trace)
            if done % 2000 == 0:
                _say(f"{done:,} inputs, {done / (time.monotonic() - began):.0f} a second, {len(failures)} failed")
        faulthandler.cancel_dump_traceback_later()
        _table(held, failures, time.monotonic() - began)
        if options.state:
            ends = {bench.reader.name: first[bench.reader.name] + bench.counts.inputs for bench in held}
            options.state.write_text(json.dumps({"seed": options.seed, "done": ends}, indent=1))
    return 1 if failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, help="how many inputs, over all readers")
    parser.add_argument("--seconds", type=float, help="or for how long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", help="only readers with this in their name")
    parser.add_argument("--first", type=int, default=0, help="number of each reader's first input")
    parser.add_argument("--state", type=Path, help="a file that remembers where the last call ended")
    parser.add_argument("--trace", action="store_true", help="tracebacks of failures")
    options = parser.parse_args()
    if options.inputs is None and options.seconds is None:
        parser.error("say how long: --inputs or --seconds")
    return options


def _begin(held: list[Bench], options: argparse.Namespace) -> dict[str, int]:
    first = {bench.reader.name: options.first for bench in held}
    if options.state and options.state.exists():
        kept = json.loads(options.state.read_text())
        if kept["seed"] != options.seed:
            sys.exit(f"{options.state}: is of seed {kept['seed']}; give another file or that seed")
        first |= {name: kept["done"].get(name, 0) for name in first}
    return first


def _enough(done: int, seconds: float, options: argparse.Namespace) -> bool:
    return (options.inputs is not None and done >= options.inputs) or (
        options.seconds is not None and seconds >= options.seconds
    )


def _table(held: list[Bench], failures: list[Failure], seconds: float) -> None:
    _say(f"{'reader':34} {'inputs':>9} {'loaded':>9} {'refused':>9} {'failed':>7} {'ms each':>8}")
    for bench in held:
        c = bench.counts
        each = 1000 * c.seconds / max(1, c.inputs)
        _say(f"{bench.reader.name:34} {c.inputs:9,} {c.loaded:9,} {c.refused:9,} {c.failed:7,} {each:8.1f}")
    total = sum(bench.counts.inputs for bench in held)
    _say(f"{total:,} inputs in {seconds:.0f} s, {len(failures)} failed of {len(causes(failures))} causes")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
