"""A short share of the fuzzing that `python -m tests.fuzz` does for as long as it is told."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fuzz.fuzzing import Bench, Counts, benches, causes, next_bench
from tests.fuzz.mutations import SPECIAL, put_special
from tests.fuzz.readers import READERS, Reader

from saelex.errors import InputError, SaelexError
from saelex.reading.regular import regular_file

OPTIONAL = ("report.json", "lm_config.json", "config.json", "positions.npy")
LIGHT = [reader for reader in READERS if reader.share >= 5]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("SAELEX_CACHE", str(tmp_path / "cache"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def fuzz(readers: list[Reader], inputs: int, seed: int) -> None:
    with benches(readers) as held:
        failures = []
        for _ in range(inputs):
            bench = next_bench(held)
            failure = bench.run(seed, bench.counts.inputs)
            failures += [] if failure is None else [failure]
        assert not failures, "\n".join(f"{number} x {cause}" for cause, number in causes(failures).items())
        # damage is noticed for the most part, and not everything is refused
        total = Counts(
            *(sum(getattr(bench.counts, name) for bench in held) for name in ("inputs", "loaded", "refused"))
        )
        assert total.refused > 0.3 * inputs
        assert total.loaded > 0.02 * inputs


def test_damaged_files_load_or_are_refused_by_one_error() -> None:
    fuzz(LIGHT, 500, seed=1)


@pytest.mark.slow
def test_damaged_files_of_every_kind() -> None:
    fuzz(READERS, 6000, seed=2)


@pytest.mark.parametrize("what", SPECIAL)
def test_what_is_no_file_is_refused_at_once(what: str) -> None:
    """No pipe is waited for, no device read to its end."""
    with benches(LIGHT) as held:
        for bench in held:
            for target in bench.files:
                if (
                    what == "unreadable"
                    or target.name == "metrics.jsonl"
                    or (what == "missing" and target.name in OPTIONAL)
                ):
                    continue  # a superuser reads everything; a log counts only where there is no report
                target.unlink()
                put_special(target, what)
                with pytest.raises(SaelexError):
                    bench.reader.read(bench.path)
                    pytest.fail(f"{bench.reader.name} reads without {target.name}")
                bench.restore()


def test_the_harness_notices_what_it_is_for(tmp_path: Path) -> None:
    """A traceback and a message of two lines are failures; a refusal and a success are none."""

    def read(path: Path) -> None:
        text = regular_file(path).read_bytes()
        if text == b"whole" or not text:
            return
        raise {0: ValueError("x"), 1: InputError("x"), 2: KeyError(3)}[len(text) % 3]

    def make(folder: Path) -> Path:
        (folder / "file").write_bytes(b"whole")
        return folder / "file"

    bench = Bench(Reader("made", make, read), tmp_path / "made")
    failures = [failure for number in range(200) if (failure := bench.run(0, number)) is not None]
    counts = bench.counts
    assert counts.inputs == 200 == counts.loaded + counts.refused + counts.failed
    assert min(counts.loaded, counts.refused, counts.failed) > 3
    assert {failure.kind.split(" ")[0] for failure in failures} >= {"ValueError", "KeyError"}
    again = Bench(Reader("made", make, read), tmp_path / "again")
    assert [f.number for number in range(200) if (f := again.run(0, number)) is not None] == [
        f.number for f in failures
    ]
