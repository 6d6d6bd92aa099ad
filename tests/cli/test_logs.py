"""--quiet, --log-level and --log-format, which are before the verb and hold for all of them."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Result, Saelex

from saelex import progress
from saelex.index.index import Index

_logger = logging.getLogger("saelex.index.somewhere")


@pytest.fixture
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge that logs on every level, and shows work whose lines come with every unit."""

    def merge(self: Index) -> None:
        _logger.debug("a detail")
        _logger.info("a step of %d", 2)
        _logger.warning("something is odd")
        _logger.error("something is wrong")
        for _ in progress.counted("abcd", total=4, desc="merge", unit="letter", shown=True):
            pass

    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    monkeypatch.setattr(Index, "merge", merge)


def lines_of(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.err.splitlines()]


WARNINGS = ["saelex: warning: something is odd", "saelex: error: something is wrong"]


def test_warnings_and_progress_are_said_unless_told_otherwise(saelex: Saelex, index: Path, talkative: None) -> None:
    lines = saelex("merge", index).err.splitlines()
    assert lines[:2] == WARNINGS
    assert [line.split(" [")[0] for line in lines[2:]] == [f"merge: {n * 25:3d}% {n}/4" for n in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("level", "wanted"),
    [
        ("debug", ["saelex: debug: a detail", "saelex: info: a step of 2", *WARNINGS]),
        ("info", ["saelex: info: a step of 2", *WARNINGS]),
        ("error", WARNINGS[1:]),
    ],
)
def test_a_level_chooses_log_lines(saelex: Saelex, index: Path, talkative: None, level: str, wanted: list[str]) -> None:
    lines = saelex("--log-level", level, "merge", index).err.splitlines()
    assert [line for line in lines if line.startswith("saelex: ")] == wanted


def test_quiet_leaves_results_and_errors(saelex: Saelex, index: Path, talkative: None) -> None:
    done = saelex("--quiet", "merge", index)
    assert (done.code, done.out, done.err) == (0, f"{index}: merged\n", "saelex: error: something is wrong\n")
    assert saelex("-q", "--log-level", "warning", "merge", index).err.splitlines() == WARNINGS
    noted = ("search", index, "zip", "--language", "fr")
    assert "no labels in fr" in saelex(*noted).err
    assert saelex("-q", *noted).err == ""
    failed = saelex("-q", "delete", index, "nobody")
    assert failed.code == 2 and failed.err.startswith("saelex: ") and failed.err.count("\n") == 1


def test_json_makes_every_line_an_object(saelex: Saelex, index: Path, talkative: None) -> None:
    before = datetime.now(timezone.utc)
    done = saelex("--log-format", "json", "merge", index)
    lines = lines_of(done)
    assert done.out == f"{index}: merged\n"
    assert [(line["level"], line["logger"], line["message"]) for line in lines[:2]] == [
        ("warning", "saelex.index.somewhere", "something is odd"),
        ("error", "saelex.index.somewhere", "something is wrong"),
    ]
    for line in lines:
        assert abs((datetime.fromisoformat(line["time"]) - before).total_seconds()) < 3600
    progressed = lines[2:]
    assert [(line["done"], line["total"], line["unit"]) for line in progressed] == [
        (n, 4, "letter") for n in (1, 2, 3, 4)
    ]
    assert all(line["logger"] == "saelex.progress" and line["message"].startswith("merge: ") for line in progressed)
    silent = lines_of(saelex("-q", "--log-format", "json", "merge", index))
    assert [line["message"] for line in silent] == ["something is wrong"]


def test_notes_and_errors_are_json_too(saelex: Saelex, index: Path) -> None:
    noted = lines_of(saelex("--log-format", "json", "search", index, "zip", "--language", "fr"))
    assert [(line["level"], line["logger"]) for line in noted] == [("info", "saelex")]
    assert noted[0]["message"].startswith("no labels in fr here")
    for arguments in (["delete", index, "nobody"], ["merge"], ["search", index, "zip", "--mode", "x"]):
        failed = saelex("--log-format", "json", *arguments)
        (line,) = lines_of(failed)
        assert failed.code == 2 and line["level"] == "error" and not line["message"].startswith("saelex: ")


def test_what_is_set_ends_with_the_run(saelex: Saelex, index: Path, talkative: None) -> None:
    logger = logging.getLogger("saelex")
    before = logger.level, list(logger.handlers)
    saelex("--quiet", "--log-format", "json", "merge", index)
    saelex("--quiet", "--log-format", "json", "delete", index, "nobody")
    assert (logger.level, logger.handlers) == before
    assert saelex("delete", index, "nobody").err.startswith("saelex: ")
    assert any(line.startswith("merge: ") for line in saelex("merge", index).err.splitlines())


def test_an_unknown_level_is_one_line(saelex: Saelex) -> None:
    done = saelex("--log-level", "loud", "recipes")
    assert done.code == 2 and "loud" in done.err and done.err.count("\n") == 1
