"""A server under load, on loopback: many clients at once against one query at a time, and against a plain handler.

    python benchmarks/serve.py INDEX
    python benchmarks/serve.py INDEX --clients 200 --seconds 60 --requests 200000 --kills 100 --cases 10000

The server has one core and the clients have the others, where there are several. Every query is another one: some
words in a row of the index's own passages, so that no vector is kept from an earlier one. "plain" is a FastAPI handler
around `Index.search`, behind the same uvicorn. Half load is the rate at which half of the queries a second of the
full load come, at even times, whether others are answered or not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from report import Report
from saelex.index.index import Index

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

K = 10
PATIENCE = 300.0  # seconds until a server listens
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def main() -> None:
    if sys.argv[1:2] == ["--plain"]:
        plain_server(Path(sys.argv[2]), int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("index", type=Path, help="an index, such as that of `saelex demo`")
    parser.add_argument("--clients", type=int, default=50, help="at a time")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--requests", type=int, default=2000, help="over which the server's memory is watched")
    parser.add_argument("--kills", type=int, default=3, help="of a server that writes")
    parser.add_argument("--cases", type=int, default=320, help="made-up requests by the OpenAPI document")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    arguments = parser.parse_args()
    if len(CORES) > 1:
        os.sched_setaffinity(0, CORES[1:])
    report = Report("serving", ["fastapi", "uvicorn"])
    queries = Queries(arguments.index)
    with serving(arguments.index, plain=True) as server:
        plain = asyncio.run(full_load(server, queries, arguments.clients, arguments.seconds))
    with serving(arguments.index) as server:
        alone = asyncio.run(full_load(server, queries, 1, arguments.seconds))
        full = asyncio.run(full_load(server, queries, arguments.clients, arguments.seconds))
        half = asyncio.run(even_load(server, queries, full.rate / 2, arguments.seconds))
        grown = asyncio.run(memory(server, queries, arguments.clients, arguments.requests))
    show(report, plain, alone, full, half, grown, arguments)
    report.add("serve_failed_kills", failed_kills(arguments.kills), f"of {arguments.kills} kills", goal=0)
    report.add("serve_5xx", made_up(arguments.cases), f"of about {arguments.cases} made-up requests", goal=0)
    report.print()
    if arguments.json:
        report.write(arguments.json)


# ---- the servers ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Server:
    """One that listens. path: where it takes searches."""

    port: int
    pid: int
    path: str

    @property
    def memory_mib(self) -> float:
        """What it holds in memory now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def serving(index: Path, *, plain: bool = False) -> Iterator[Server]:
    """A server in a process of its own, on the first core."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    verb = [__file__, "--plain", str(index), str(port)]
    if not plain:
        verb = ["-m", "saelex", "serve", f"bench={index}", "--port", str(port)]
    threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}  # a core has no use for more

    def pin() -> None:
        if CORES:
            os.sched_setaffinity(0, CORES[:1])

    process = subprocess.Popen([sys.executable, *verb], env={**os.environ, **threads}, preexec_fn=pin)
    try:
        wait_for(port, process)
        yield Server(port, process.pid, "/search" if plain else "/v1/bench/search")
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the server did not start")


def plain_server(path: Path, port: int) -> None:
    """What anybody would write first: FastAPI runs a plain function in a thread of its pool."""
    import uvicorn
    from fastapi import Body, FastAPI

    app = FastAPI()
    with Index.open(path) as index:
        index.search("the first query")

        def search(query: str = Body(), k: int = Body()) -> dict[str, Any]:
            return {"hits": [hit.to_json(explanation=False) for hit in index.search(query, k)]}

        app.post("/search")(search)
        uvicorn.run(app, port=port, log_level="error", access_log=False)


# ---- the clients ----------------------------------------------------------------------------------------------------


class Queries:
    """Some words in a row of an index's passages, another one each time."""

    def __init__(self, path: Path) -> None:
        with Index.open(path) as index:
            texts = (text.split() for part in index.stored(sample=2000) for text in part.texts)
            self._texts = [words for words in texts if words]
        self._draw = random.Random(0)

    def next(self) -> str:
        words = self._draw.choice(self._texts)
        length = self._draw.randint(3, 10)
        first = self._draw.randrange(max(1, len(words) - length))
        return " ".join(words[first : first + length])


@dataclass
class Load:
    """What clients saw. milliseconds: of each answer; statuses: 0 where there was none."""

    seconds: float = 0.0
    milliseconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Hits a second, which 429s are not."""
        return self.statuses[200] / self.seconds

    @property
    def errors(self) -> int:
        return sum(n for status, n in self.statuses.items() if status not in (200, 429))

    def percentile(self, p: float) -> float:
        return float(np.percentile(self.milliseconds, p)) if self.milliseconds else float("nan")


class Client:
    """One connection that is kept, and one request at a time on it."""

    def __init__(self, server: Server, load: Load) -> None:
        self._server = server
        self._load = load
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, query: str) -> None:
        body = json.dumps({"query": query, "k": K}).encode()
        head = (
            f"POST {self._server.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        start = time.perf_counter()
        status = 0
        for kept in (
            self._streams is not None,
            False,
        ):  # a kept one may be closed by now: once more then
            try:
                status = await self._exchange(head.encode() + body)
            except (OSError, asyncio.IncompleteReadError, ValueError):
                self._streams = None
            if status or not kept:
                break
        self._load.milliseconds.append(1000 * (time.perf_counter() - start))
        self._load.statuses[status] += 1
        if status == 429:
            await asyncio.sleep(1.0)  # as it was told

    async def _exchange(self, request: bytes) -> int:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._server.port, limit=1 << 20)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").lower().split("\r\n")
        length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length:"))
        await reader.readexactly(length)
        if "connection: close" in lines:
            self.close()
        return int(lines[0].split()[1])

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def full_load(server: Server, queries: Queries, clients: int, seconds: float) -> Load:
    """So many clients, each of which asks again when it is answered."""
    until = time.perf_counter() + seconds
    return await closed_load(server, queries, clients, lambda: time.perf_counter() < until)


async def closed_load(server: Server, queries: Queries, clients: int, more: Callable[[], bool]) -> Load:
    load = Load()
    start = time.perf_counter()

    async def one(client: Client) -> None:
        while more():
            await client.ask(queries.next())
        client.close()

    await asyncio.gather(*(one(Client(server, load)) for _ in range(clients)))
    load.seconds = time.perf_counter() - start
    return load


async def even_load(server: Server, queries: Queries, rate: float, seconds: float) -> Load:
    """So many queries a second, whether others are answered or not."""
    load = Load()
    idle: list[Client] = []
    start = time.perf_counter()

    async def one() -> None:
        client = idle.pop() if idle else Client(server, load)
        await client.ask(queries.next())
        idle.append(client)

    asking: list[Awaitable[None]] = []
    for i in range(max(1, round(rate * seconds))):
        await asyncio.sleep(max(0.0, start + i / rate - time.perf_counter()))
        asking.append(asyncio.ensure_future(one()))
    await asyncio.gather(*asking)
    load.seconds = time.perf_counter() - start
    for client in idle:
        client.close()
    return load


async def memory(server: Server, queries: Queries, clients: int, requests: int) -> float:
    """MiB by which the server has grown in the second half of so many requests: what it keeps is full by then."""
    sizes: list[float] = []
    for _ in range(2):
        left = iter(range(requests // 2))
        await closed_load(server, queries, clients, lambda left=left: next(left, None) is not None)  # type: ignore[misc]
        sizes.append(server.memory_mib)
    return sizes[1] - sizes[0]


# ---- what must not happen -------------------------------------------------------------------------------------------


def failed_kills(number: int) -> int:
    """Of so many kills of a server that writes, those after which something committed was lost."""
    from tests.server.killing import kill_while_writing

    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(number):
            try:
                kill_while_writing(Path(folder) / str(turn), turns=1)
            except AssertionError as error:
                failed += 1
                print(f"kill {turn + 1}: {error}")
    return failed


def made_up(cases: int) -> int:
    """Answers of 5xx to about so many requests, half of them such as the OpenAPI document allows."""
    from tests.server.made_up import failures

    with tempfile.TemporaryDirectory() as folder:
        return failures(Path(folder), cases)


def show(
    report: Report, plain: Load, alone: Load, full: Load, half: Load, grown: float, arguments: argparse.Namespace
) -> None:
    n = arguments.clients
    report.add("serve_qps_plain", round(plain.rate, 1), "queries/s", note=f"plain handler, {n} clients")
    report.add("serve_qps_alone", round(alone.rate, 1), "queries/s", note="one query at a time")
    report.add("serve_qps", round(full.rate, 1), "queries/s", note=f"{n} clients")
    report.add("serve_times_alone", round(full.rate / alone.rate, 2), "x", goal=3)
    report.add("serve_times_plain", round(full.rate / plain.rate, 2), "x")
    statuses = ", ".join(f"{n} of {status}" for status, n in sorted((full.statuses + half.statuses).items()))
    report.add("serve_errors", full.errors + half.errors, "answers", goal=0, note=f"429s not counted; {statuses}")
    report.add("serve_429", full.statuses[429] + half.statuses[429], "answers")
    for name, load in (("alone", alone), ("full", full), ("half", half), ("plain", plain)):
        report.add(f"serve_p50_ms_{name}", round(load.percentile(50), 2), "ms")
        report.add(f"serve_p99_ms_{name}", round(load.percentile(99), 2), "ms")
    report.add("serve_p99_of_p50_half", round(half.percentile(99) / half.percentile(50), 2), "x", goal="under 2")
    report.add("serve_memory_growth", round(grown, 2), f"MiB in the last {arguments.requests // 2} requests", goal=0)


if __name__ == "__main__":
    main()
