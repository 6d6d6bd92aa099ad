"""What is said on stderr beside the results: notes, progress, warnings and errors, in one form for all commands."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from enum import Enum
from typing import Any

_NAME = "saelex"


class LogLevel(str, Enum):
    """The least that a log line must matter."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


class LogFormat(str, Enum):
    """As text to be read, or one JSON object a line."""

    text = "text"
    json = "json"


class _Settings:
    """How this run of the command line speaks; `set_up` changes it."""

    quiet = False
    form = LogFormat.text


_settings = _Settings()
_undo = ExitStack()


@contextmanager
def lasting() -> Iterator[None]:
    """What `set_up` sets inside the block ends with it: the process may be a user's own."""
    with _undo:
        yield


def set_up(*, quiet: bool = False, level: LogLevel | None = None, form: LogFormat = LogFormat.text) -> None:
    """Log lines of saelex go to stderr, from a level on; `quiet` leaves errors alone of all that is said there.

    level: None is warning, or with `quiet` error. As JSON, every line is an object with time, level, logger and
    message; progress is such lines, too, with done, total and unit. The traceback of a bug is text all the same.
    """
    logger, handler = logging.getLogger(_NAME), logging.StreamHandler()
    handler.setFormatter(_JsonLines() if form is LogFormat.json else _TextLines())
    _undo.callback(logger.setLevel, logger.level)
    _undo.callback(logger.removeHandler, handler)
    logger.setLevel((level or (LogLevel.error if quiet else LogLevel.warning)).value.upper())
    logger.addHandler(handler)
    _undo.callback(vars(_settings).clear)  # what the class has counts again
    _settings.quiet, _settings.form = quiet, form
    if quiet or form is LogFormat.json:
        from saelex.progress import showing

        _undo.enter_context(showing(not quiet, _say_progress if form is LogFormat.json else None))


def show_too(*names: str) -> None:
    """Warnings and errors of other packages' loggers are shown as saelex's own, until the command ends."""
    own = logging.getLogger(_NAME)
    for name in names:
        logger = logging.getLogger(name)
        _undo.callback(logger.setLevel, logger.level)
        logger.setLevel(max(logging.WARNING, own.level))
        for handler in own.handlers:
            _undo.callback(logger.removeHandler, handler)
            logger.addHandler(handler)


def say(message: str) -> None:
    """What is worth knowing beside the result; nothing under --quiet."""
    if not _settings.quiet:
        _write(message, "info")


def say_error(message: str) -> None:
    """Why the command ends without a result, one line."""
    _write(f"{_NAME}: {message}", "error")


def _write(message: str, level: str) -> None:
    if sys.stderr is None:  # closed by the caller
        return
    if _settings.form is LogFormat.json:
        message = _json_line(datetime.now(timezone.utc), level, _NAME, message.removeprefix(f"{_NAME}: "))
    print(message, file=sys.stderr, flush=True)  # noqa: T201


def _say_progress(line: str, counts: Mapping[str, Any]) -> None:
    now = datetime.now(timezone.utc)
    print(_json_line(now, "info", f"{_NAME}.progress", line, **counts), file=sys.stderr, flush=True)  # noqa: T201


def _json_line(time: datetime, level: str, logger: str, message: str, **more: Any) -> str:
    values = {"time": time.isoformat(timespec="milliseconds"), "level": level, "logger": logger, "message": message}
    return json.dumps({**values, **more}, ensure_ascii=False)


class _TextLines(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return f"{_NAME}: {record.levelname.lower()}: {record.message}"


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        more = {"exception": self.formatException(record.exc_info)} if record.exc_info else {}
        time = datetime.fromtimestamp(record.created, timezone.utc)
        return _json_line(time, record.levelname.lower(), record.name, record.getMessage(), **more)
