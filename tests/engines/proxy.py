"""A connection that can be cut: what passes through here is counted, and ends in the middle of a write."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Proxy:
    """Forwards to a server. cut_after: bytes from the client, after which every connection is cut, once.

    refuses: whether connections are taken at all.
    """

    def __init__(self, target: str | tuple[str, int]) -> None:
        self.target = target
        self.cut_after: int | None = None
        self.refuses = False
        self.cuts = 0
        self._sent = 0
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def run(self) -> None:
        """Take connections until closed."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refuses:
                client.close()
                continue
            kind = socket.AF_UNIX if isinstance(self.target, str) else socket.AF_INET
            server = socket.socket(kind)
            server.connect(self.target)
            for one in (client, server):
                if one.family != socket.AF_UNIX:
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open |= {client, server}
            threading.Thread(target=self._forward, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, False), daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        self._cut()

    def _forward(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if counted and self.cut_after is not None:
                    self._sent += len(data)
                    if self._sent > self.cut_after:
                        target.sendall(data[: len(data) // 2])  # half of it is there
                        self.cut_after, self._sent = None, 0
                        self.cuts += 1
                        self._cut()
                        return
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _cut(self) -> None:
        for one in list(self._open):  # another thread may take a connection meanwhile
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
            self._open.discard(one)


@contextmanager
def proxied(target: str | tuple[str, int]) -> Iterator[Proxy]:
    """A proxy in front of a server, for the block."""
    proxy = Proxy(target)
    thread = threading.Thread(target=proxy.run, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", proxy.port), 1).close()  # wakes accept
        proxy.close()
