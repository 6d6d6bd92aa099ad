"""How far a long piece of work is: a bar on a terminal, and a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

LINE_EVERY = 15.0
"""Seconds between two lines where stderr is no terminal; work that is done sooner leaves none."""

Report = Callable[[str, Mapping[str, Any]], None]
"""Takes a line of progress, and the same in numbers: done, total (None where it is not known) and unit."""


class _Settings:
    """How work is shown in this process; `showing` changes it for a while."""

    shown = True
    report: Report | None = None


_settings = _Settings()


@contextmanager
def showing(shown: bool = True, report: Report | None = None) -> Iterator[None]:
    """In the block, all work of this process is shown so: not at all, or as lines that `report` takes.

    report: on a terminal, too; None leaves it at bars and lines on stderr.
    """
    before = _settings.shown, _settings.report
    _settings.shown, _settings.report = shown, report
    try:
        yield
    finally:
        _settings.shown, _settings.report = before


class Progress(Protocol):
    """What `progress_bar` gives."""

    def update(self, n: float | None = 1) -> Any:
        """So many units more are done."""

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> Any:
        """What is said after the count."""

    def close(self) -> Any:
        """The work is at its end."""

    def __enter__(self) -> Any: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any: ...


class _Lines:
    """As tqdm, but for whole lines, `LINE_EVERY` seconds apart: count, rate, and time left where known."""

    def __init__(self, report: Report, done: float, clock: Callable[[], float], **shown: Any) -> None:
        self._report = report
        self._shown: dict[str, Any] = shown  # prefix, total, unit, unit_scale
        self._done = self._initial = done
        self._clock = clock
        self._start = self._last = clock()
        self._postfix = ""

    def update(self, n: float | None = 1) -> None:
        self._done += n or 0
        now = self._clock()
        if now - self._last >= LINE_EVERY:
            self._last = now
            # without a width the meter has no bar in it
            known: dict[str, Any] = {
                "elapsed": now - self._start,
                "initial": self._initial,
                "postfix": self._postfix,
                "ncols": 0,
            }
            counts = {"done": self._done, "total": self._shown["total"], "unit": self._shown["unit"].strip()}
            self._report(tqdm.format_meter(self._done, **known, **self._shown), counts)

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        self._postfix = s

    def close(self) -> None:
        pass

    def __enter__(self) -> _Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def progress_bar(
    *,
    desc: str = "",
    total: int | None = None,
    initial: int = 0,
    unit: str,
    unit_scale: bool = False,
    shown: bool = True,
    leave: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> Progress:
    """Counts units of work for whoever watches stderr: as a bar, or as lines in a log where it is no terminal.

    total: units in all, where known. initial: of those, what was done before. unit: the name of one; unit_scale: as
    4.7k. leave: the bar stays when the work is done. clock: in seconds. `showing` has the last word on all of it.
    """
    shown, report = shown and _settings.shown, _settings.report
    if not shown or (report is None and sys.stderr.isatty()):
        return tqdm(
            desc=desc or None, total=total, initial=initial, unit=unit, unit_scale=unit_scale, disable=not shown,
            leave=leave,
        )  # fmt: skip
    return _Lines(
        report or _on_stderr, initial, clock, prefix=f"{desc}: " if desc else "", total=total, unit=f" {unit.strip()}",
        unit_scale=unit_scale,
    )  # fmt: skip


def _on_stderr(line: str, counts: Mapping[str, Any]) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def counted(items: Iterable[Item], *, total: int | None = None, desc: str, unit: str, shown: bool) -> Iterator[Item]:
    """The items, each a unit of work that is done when the next is asked for."""
    with progress_bar(desc=desc, total=total, unit=unit, shown=shown) as bar:
        for item in items:
            yield item
            bar.update()
