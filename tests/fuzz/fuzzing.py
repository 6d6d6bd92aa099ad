"""Damaged inputs through every reader: each loads, or is refused by one error of saelex's own; nothing else happens."""

from __future__ import annotations

import random
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.mutations import SPECIAL, mutated, put_special
from tests.fuzz.readers import Reader

from saelex.errors import SaelexError

SECONDS = 10.0
"""One input may take as long; more is a hang."""
MEGABYTES = 600
"""The process may grow as much over one input."""
_SPECIAL_SHARE = 0.02


class Hang(BaseException):
    """An input took longer than SECONDS. No Exception, so that no reader makes an error of it."""


@dataclass
class Counts:
    """What became of one reader's inputs."""

    inputs: int = 0
    loaded: int = 0
    refused: int = 0
    failed: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Failure:
    """An input that neither loaded nor was refused. kind: equal for failures of one cause."""

    reader: str
    number: int
    file: str
    kind: str
    trace: str


@dataclass
class Bench:
    """A reader's tiny files, whole, and the damage done to one of them at a time.

    Input `number` of a seed is always the same one.
    """

    reader: Reader
    folder: Path
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.path = self.reader.make(self.folder)
        if not self.path.is_relative_to(self.folder):
            raise ValueError(f"{self.reader.name} is made outside its folder")
        self.files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        self.whole = {path: path.read_bytes() for path in self.files}
        self.reader.read(self.path)  # undamaged, it loads

    def run(self, seed: int, number: int) -> Failure | None:
        """Damage, read, and put all files back."""
        rng = random.Random(f"{seed} {self.reader.name} {number}")
        target = rng.choice(self.files)
        self.damage(target, rng)
        began = time.perf_counter()
        try:
            return self._read(number, target)
        finally:
            self.counts.seconds += time.perf_counter() - began
            self.restore()

    def damage(self, target: Path, rng: random.Random) -> None:
        """Write the input."""
        target.unlink()
        if rng.random() < _SPECIAL_SHARE:
            put_special(target, rng.choice(SPECIAL))
        else:
            target.write_bytes(mutated(target.name, self.whole[target], rng))
        self.reader.seal(self.folder)

    def _read(self, number: int, target: Path) -> Failure | None:
        self.counts.inputs += 1
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            with _time_limit():
                self.reader.read(self.path)
            self.counts.loaded += 1
        except SaelexError as error:
            if "\n" not in str(error) and len(str(error)) < 2000:
                self.counts.refused += 1
                return None
            return self._failed(number, target, f"a message of {len(str(error))} characters", error)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return self._failed(number, target, _kind(error), error)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        if grown > MEGABYTES:
            return self._failed(number, target, f"{grown} MB more memory", None)
        return None

    def _failed(self, number: int, target: Path, kind: str, error: BaseException | None) -> Failure:
        self.counts.failed += 1
        trace = "" if error is None else "".join(traceback.format_exception(error))
        return Failure(self.reader.name, number, str(target.relative_to(self.folder)), kind, trace)

    def restore(self) -> None:
        """All files as they were; what reading has left besides them is removed."""
        for path in sorted(self.folder.rglob("*"), reverse=True):
            if path not in self.whole and (path.is_symlink() or not path.is_dir()):
                path.unlink()
        for path, content in self.whole.items():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            if path.is_symlink() or not path.is_file() or path.read_bytes() != content:
                path.unlink(missing_ok=True)
                path.write_bytes(content)


@contextmanager
def benches(readers: Sequence[Reader], place: str | None = None) -> Iterator[list[Bench]]:
    """The readers' files, in a folder of memory where there is one."""
    memory = Path("/dev/shm")
    with ExitStack() as stack:
        root = Path(
            stack.enter_context(tempfile.TemporaryDirectory(dir=place or (memory if memory.is_dir() else None)))
        )
        yield [Bench(reader, root / str(i)) for i, reader in enumerate(readers)]


def next_bench(held: Sequence[Bench]) -> Bench:
    """The one that is furthest behind its share."""
    return min(held, key=lambda bench: bench.counts.inputs / bench.reader.share)


def causes(failures: Sequence[Failure]) -> Counter[str]:
    """How many failures each cause has."""
    return Counter(f"{failure.reader}: {failure.kind}" for failure in failures)


def _kind(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/saelex/" in frame.filename] or frames
    last = own[-1]
    said = (str(error).splitlines() or [""])[0][:80]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno} ({said})"


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise Hang(f"longer than {SECONDS} s")

    old = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
