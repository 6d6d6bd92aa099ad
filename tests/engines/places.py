"""Where the live engines of the tests are: embedded ones, stubs, and real servers, which have the mark `engines`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest
from tests.engines.stubs import LuceneStub, Stub, VespaStub, serving

from engine_servers import PACKAGES, SERVERS, Server

EMBEDDED = {
    "qdrant-local": ("qdrant_client", "qdrant+local://{folder}/{name}"),
    "qdrant-edge": ("qdrant_edge", "qdrant+edge://{folder}/{name}"),
    "qdrant-edge-float16": ("qdrant_edge", "qdrant+edge://{folder}/{name}?datatype=float16"),
}
STUBS: dict[str, Callable[[str], Stub]] = {
    "opensearch": lambda _: LuceneStub("opensearch"),
    "elasticsearch": lambda _: LuceneStub("elasticsearch"),
    "vespa": VespaStub,
}
REAL = {
    "milvus": ("milvus", ""),
    "postgresql": ("postgresql", ""),
    "postgresql-hnsw": ("postgresql", "index=hnsw"),
    "seekdb": ("seekdb", ""),
    "seekdb-sindi": ("seekdb", "index=sindi"),
}
PLACES = [*EMBEDDED, *STUBS, *(pytest.param(name, marks=pytest.mark.engines) for name in REAL)]
ALL = [*EMBEDDED, *STUBS, *REAL]


class Places:
    """URLs of new collections. Servers are started when they are first needed, and stopped by `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stubs: dict[str, Stub] = {}
        """The last one of each name."""
        self._numbers = count()
        self._servers: dict[str, Server] = {}
        self._running = ExitStack()

    def __call__(self, name: str) -> str:
        """Of a new collection of an engine, by a name of PLACES; skips the test where its package is missing."""
        collection = f"notes_{next(self._numbers)}"
        if name in EMBEDDED:
            package, url = EMBEDDED[name]
            pytest.importorskip(package)
            return url.format(folder=self.folder / name, name=collection)
        if name in STUBS:
            self.stubs[name] = STUBS[name](collection)
            port = self._running.enter_context(serving(self.stubs[name]))
            return f"{name}://127.0.0.1:{port}/{collection}"
        return self.server(name).url(collection, REAL[name][1])

    def server(self, name: str) -> Server:
        """The running server of a name of REAL."""
        kind, _ = REAL[name]
        pytest.importorskip(PACKAGES[kind])
        if kind not in self._servers:
            started = SERVERS[kind]()
            started.start()
            self._running.callback(started.stop)
            self._servers[kind] = started
        return self._servers[kind]

    def restart(self, name: str) -> None:
        """A real server ends and begins again; of the others nothing happens."""
        if name in REAL:
            server = self.server(name)
            server.stop()
            server.start()

    def close(self) -> None:
        self._running.close()
