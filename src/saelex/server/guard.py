"""What stands before every route: hosts, keys, the size of a body, the time of a request, headers, the log."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from threading import Lock

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from saelex.server.metrics import Metrics
from saelex.server.problems import Problem, too_late
from saelex.server.settings import Settings

logger = logging.getLogger(__name__)

_OPEN = ("/", "/health")
_OPEN_BELOW = "/page/"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_LOGGED = 2000  # bytes of a body
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Deadline:
    """When a request must be answered (`until`, by `time.monotonic`), unless it comes to what must not be cut off."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.until = time.monotonic() + seconds
        self._lock = Lock()  # a thread lifts it, or finds that the event loop has given the request up
        self._lifted = self._passed = False

    @property
    def left(self) -> float:
        """Seconds."""
        return max(0.0, self.until - time.monotonic())

    def lift(self) -> None:
        """What begins now is waited for. Raises TimeoutError where nobody waits any more."""
        with self._lock:
            if self._passed:
                raise TimeoutError
            self._lifted = True

    def give_up(self) -> bool:
        """Whether the request is given up; from then on it cannot be lifted."""
        with self._lock:
            self._passed = not self._lifted
            return self._passed

    @classmethod
    def of(cls, scope: Scope) -> Deadline:
        """That of a request."""
        deadline = scope["saelex.deadline"]
        assert isinstance(deadline, Deadline)
        return deadline


class SecurityHeaders:
    """Headers that every answer carries, whoever makes it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


class Guard:
    """Refuses what must not come in, and bounds what may. Whatever breaks inside is a problem (500), and logged."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._key = None if settings.api_key is None else settings.api_key.encode()
        self._hosts = {host.lower() for host in settings.allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status, body = time.perf_counter(), 0, b""

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        scope["saelex.deadline"] = deadline = Deadline(self._settings.seconds)
        try:
            self._check(scope)
            body = await self._body(Headers(scope=scope), receive, deadline)
            await self._answer(scope, _again(body, receive), noted, deadline)
        except Problem as problem:
            if not status:
                await problem.response(scope["path"])(scope, receive, noted)
        except _GoneError:
            pass
        except Exception:
            logger.exception("a request failed")
            if not status:
                failed = Problem(500, "the server failed; who keeps it finds more in its log")
                await failed.response(scope["path"])(scope, receive, noted)
        finally:
            self._note(scope, status, time.perf_counter() - start, body)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if self._hosts and _host(headers.get("host", "")) not in self._hosts:
            raise Problem(400, "this server does not answer to that host name; who runs it can allow it")
        path: str = scope["path"]
        if self._key is None or path in _OPEN or path.startswith(_OPEN_BELOW):
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        shown = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        if not hmac.compare_digest(shown.encode("latin-1"), self._key):  # the bytes that came
            detail = "wrong or no API key; send it as Authorization: Bearer KEY, or X-API-Key: KEY"
            raise Problem(401, detail, {"WWW-Authenticate": "Bearer"})

    async def _body(self, headers: Headers, receive: Receive, deadline: Deadline) -> bytes:
        """All of it, if it is not too large and comes in time."""
        most = self._settings.body_bytes
        too_large = Problem(413, f"the body has more than {most:,} bytes; send it in parts")
        told = headers.get("content-length", "0")
        if told.isdecimal() and int(told[:20]) > most:
            raise too_large
        parts: list[bytes] = []
        size = 0
        while True:
            try:
                message = await asyncio.wait_for(receive(), deadline.left)
            except asyncio.TimeoutError:
                raise too_late(deadline.seconds) from None
            if message["type"] == "http.disconnect":
                raise _GoneError
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise too_large
            if not message.get("more_body", False):
                return b"".join(parts)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, deadline: Deadline) -> None:
        """The app's answer. Beyond the deadline it is given up, but for what the app has lifted it for."""
        answering = asyncio.ensure_future(self._app(scope, receive, send))
        try:
            await asyncio.wait({answering}, timeout=deadline.left)
            if not answering.done() and deadline.give_up():
                answering.cancel()
                await asyncio.wait({answering})
                raise too_late(deadline.seconds)
            try:
                await answering
            except TimeoutError:  # of work that saw the deadline itself
                raise too_late(deadline.seconds) from None
        finally:
            if not answering.done():
                answering.cancel()

    def _note(self, scope: Scope, status: int, seconds: float, body: bytes) -> None:
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in _METHODS else "other"  # a label for each would never end
        self._metrics.requests.labels(method, route, status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if self._settings.log_queries:
            asked = scope["path"], scope["query_string"].decode("latin-1"), body[:_LOGGED].decode(errors="replace")
            logger.info("%s %s %d in %.1f ms: %r", scope["method"], route, status, 1000 * seconds, asked)
        else:
            logger.info("%s %s %d in %.1f ms", scope["method"], route, status, 1000 * seconds)


class _GoneError(Exception):
    """Who asked has hung up."""


def _host(header: str) -> str:
    """A Host header without its port."""
    name, colon, port = header.rpartition(":")
    return (name if colon and port.isdecimal() else header).strip("[]").lower()


def _again(body: bytes, receive: Receive) -> Receive:
    """What gives the body that was read already, and then what comes after it."""
    given = False

    async def read() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return read
