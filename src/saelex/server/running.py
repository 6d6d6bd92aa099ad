"""An app on a port, until it is told to stop."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import uvicorn
from fastapi import FastAPI

from saelex.errors import InputError

_CONNECTIONS = 1000  # at a time; what comes beyond is told to come again (503)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def allowed_hosts(host: str, more: tuple[str, ...], *, key: bool) -> tuple[str, ...]:
    """The names that a server answers to: any with a key; else its own, so that no page elsewhere gets at it."""
    return more and (*more, *_LOOPBACK) if key else (*more, *_LOOPBACK, host)


def run(app: FastAPI, host: str, port: int, *, grace: float, listening: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; then requests under way end, for so many seconds, and a write in any case.

    port: 0 is any that is free. listening: told the address when requests can come. Raises InputError where the port
    cannot be had.
    """
    with _socket(host, port) as bound:
        config = uvicorn.Config(
            app, access_log=False, log_config=None, server_header=False, date_header=True, lifespan="on",
            limit_concurrency=_CONNECTIONS, timeout_graceful_shutdown=max(1, round(grace)), proxy_headers=False,
        )  # fmt: skip
        address = f"[{host}]" if ":" in host else host
        server = _Server(config, lambda: listening(f"http://{address}:{bound.getsockname()[1]}"))
        with _ended_in_order():
            server.run(sockets=[bound])


class _Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._listening()


def _socket(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.socket(family)
    except (OSError, OverflowError) as error:
        raise InputError(f"{host}:{port}: no address to listen at ({error})") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise InputError(f"{host}:{port}: cannot listen there ({error.strerror}); choose another --port") from error
    return bound


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """uvicorn raises the signal that stopped it once more when it has ended: in order, so that nothing is amiss."""
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {one: signal.signal(one, lambda *_: None) for one in signals}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
