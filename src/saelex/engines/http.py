"""JSON over HTTP for engines that are asked so: one connection that is made again when it was lost."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple

from saelex.engines.calls import UnavailableError
from saelex.engines.store import Store
from saelex.errors import SaelexError

_TIMEOUT = 60.0  # seconds
_BUSY = (408, 429, 502, 503, 504)


class Answer(NamedTuple):
    """Status and body of an answer; {} for a body that is no JSON object."""

    status: int
    body: dict[str, Any]


class HttpStore(Store):
    """A collection behind HTTP. With a user the password is sent as basic authentication, without one as `token`."""

    port: ClassVar[int]
    token: ClassVar[str]
    """What stands before a password without a user in the Authorization header."""

    _connection: http.client.HTTPConnection | None = None

    def _send(self, method: str, path: str, body: Any = None, *, allowed: Iterable[int] = ()) -> Answer:
        """An answer below 300, or one that is allowed. A list as the body is sent as lines."""
        headers = {"Accept": "application/json", **self._authorization()}
        data = None
        if body is not None:
            lines = isinstance(body, list)
            headers["Content-Type"] = "application/x-ndjson" if lines else "application/json"
            parts = [json.dumps(one, ensure_ascii=False) for one in (body if lines else [body])]
            data = ("\n".join(parts) + ("\n" if lines else "")).encode("utf-8", "surrogatepass")
        try:
            if self._connection is None:
                self._connection = self._connected()
            self._connection.request(method, path, data, headers)
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._close()
            raise UnavailableError(str(error) or type(error).__name__) from error
        if response.status in _BUSY:
            raise UnavailableError(f"HTTP {response.status}")
        if response.status >= 300 and response.status not in allowed:
            raise SaelexError(f"{self.url}: HTTP {response.status}: {text[:500].decode(errors='replace')}")
        return Answer(response.status, _object(text))

    def _connected(self) -> http.client.HTTPConnection:
        secure = self.url.scheme.endswith("+https")
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        return kind(self.url.host or "localhost", self.url.port or self.port, timeout=_TIMEOUT)

    def _authorization(self) -> dict[str, str]:
        url = self.url
        if not url.password:
            return {}
        basic = base64.b64encode(f"{url.user}:{url.password}".encode()).decode()
        return {"Authorization": f"Basic {basic}" if url.user else f"{self.token} {url.password}"}

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
