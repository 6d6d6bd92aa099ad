from __future__ import annotations

import io
import sys

import pytest
from tqdm import tqdm

from saelex.progress import LINE_EVERY, counted, progress_bar, showing


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lines_of(monkeypatch: pytest.MonkeyPatch, seconds: float, total: int | None, **options: str) -> list[str]:
    """What 30 units leave in a log when each takes so long."""
    written, clock = io.StringIO(), Clock()
    monkeypatch.setattr(sys, "stderr", written)
    with progress_bar(total=total, unit=" texts", clock=clock, **options) as bar:  # type: ignore[arg-type]
        for _ in range(30):
            clock.now += seconds
            bar.update()
        bar.set_postfix_str("done")
    return written.getvalue().splitlines()


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = lines_of(monkeypatch, 2.0, 60, desc="encode")
    assert len(lines) == 60 // (LINE_EVERY + 1)  # the first count that is 15 seconds after the last line
    assert lines[0] == "encode:  13% 8/60 [00:16<01:44,  2.00s/ texts]"
    assert "\r" not in "".join(lines)
    assert lines_of(monkeypatch, 2.0, None)[-1] == "24 texts [00:48,  2.00s/ texts]"


def test_quick_work_leaves_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines_of(monkeypatch, 0.4, 30) == []


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(written, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", written)
    with progress_bar(total=3, unit="text") as bar:
        assert isinstance(bar, tqdm)
        bar.update(3)
    assert "3/3" in written.getvalue()


def test_counting_changes_nothing_and_can_be_silent(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(counted(iter("abc"), desc="x", unit="letter", shown=False)) == ["a", "b", "c"]
    assert list(counted("abc", desc="x", unit="letter", shown=True)) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_all_work_can_be_shown_elsewhere_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    written, clock = io.StringIO(), Clock()
    monkeypatch.setattr(written, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", written)
    told: list[tuple[str, dict[str, object]]] = []
    with showing(report=lambda line, counts: told.append((line, dict(counts)))):
        with showing(shown=False), progress_bar(total=9, unit="text", clock=clock) as bar:
            clock.now += 100
            bar.update()
        with progress_bar(total=9, unit="text", desc="encode", clock=clock) as bar:
            for _ in range(2):
                clock.now += 10
                bar.update(2)
    assert told == [("encode:  44% 4/9 [00:20<00:25,  5.00s/ text]", {"done": 4, "total": 9, "unit": "text"})]
    assert written.getvalue() == ""
    with progress_bar(total=3, unit="text") as bar:
        bar.update(3)
    assert "3/3" in written.getvalue()
