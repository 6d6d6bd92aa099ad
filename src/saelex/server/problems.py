"""What goes wrong, as RFC 9457 problems: JSON with a status, a title and one line of detail."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from saelex.errors import CorruptIndexError, InputError, LockedError, MismatchError, SaelexError
from saelex.server.queue import QueueFullError

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_RETRY = {"Retry-After": "1"}


class Problem(Exception):  # noqa: N818
    """An answer that is no success. detail: one line, what is wrong and what to do."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})

    def response(self, path: str) -> Response:
        """path: of the request, which is the problem's instance."""
        body = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": path,
        }
        return Response(json.dumps(body), self.status, self.headers, MEDIA_TYPE)


def not_found(detail: str) -> Problem:
    return Problem(404, detail)


def too_late(seconds: float) -> Problem:
    """The time for a request is over."""
    return Problem(503, f"no answer within {seconds:g} seconds; try again later, or ask for less", _RETRY)


def of_error(error: SaelexError, shown: Callable[[str], str] = str) -> Problem:
    """What an error of the library is to a client. shown: a message as a client may see it, without paths."""
    if isinstance(error, LockedError):
        return Problem(409, "another process is writing to this index; try again when it is done", _RETRY)
    if isinstance(error, (InputError, MismatchError)):
        return Problem(400, shown(str(error)))
    # the message names files of this machine, which is its keeper's business
    logger.error("%s", error)
    if isinstance(error, CorruptIndexError):
        return Problem(503, "the index is damaged; who keeps it finds more in the server's log")
    return Problem(503, "the index cannot be read or written now; who keeps it finds more in the server's log", _RETRY)


def handle_problems(app: FastAPI, shown: Callable[[str], str]) -> None:
    """All errors that a client can mend, or wait for, as problems. shown: as in `of_error`."""

    async def problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return error.response(request.url.path)

    async def library(request: Request, error: Exception) -> Response:
        assert isinstance(error, SaelexError)
        return of_error(error, shown).response(request.url.path)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return Problem(400, _first_of(error)).response(request.url.path)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return Problem(error.status_code, error.detail, error.headers).response(request.url.path)

    async def half_a_character(request: Request, error: Exception) -> Response:
        return Problem(400, "a text holds half a surrogate pair, not Unicode text").response(request.url.path)

    async def full(request: Request, error: Exception) -> Response:
        detail = "too many requests wait already; try again in a moment"
        return Problem(429, detail, _RETRY).response(request.url.path)

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(QueueFullError, full)
    app.add_exception_handler(SaelexError, library)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(UnicodeEncodeError, half_a_character)


def _first_of(error: RequestValidationError) -> str:
    """One line of what is wrong first, with its place in the request."""
    found: Mapping[str, Any] = error.errors()[0]
    place = ".".join(str(part) for part in found["loc"] if part != "body")
    message = str(found["msg"]).removeprefix("Value error, ")
    more = f" (and {len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
    line = f"{place}: {message}{more}" if place else f"{message}{more}"
    return line[:1000]
