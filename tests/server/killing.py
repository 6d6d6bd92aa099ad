"""A server that is killed while it writes: nothing that it said was committed may be lost."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import httpx
from tests.index.fakes import FakeEncoder, make_documents
from tests.server.serving import PATIENCE, serving

from saelex.index.index import Index

_TOGETHER = 10  # documents of one request


def documents(start: int, n: int) -> dict[str, Any]:
    """The body of a request that adds so many."""
    return {"documents": [{"id": one.id, "text": one.text} for one in make_documents(n, start=start)]}


def kill_while_writing(path: Path, turns: int) -> int:
    """Kill a server of an index so many times, each time a little later; how many documents it has told of."""
    with Index.create(path, FakeEncoder()):
        pass
    told: list[str] = []
    for turn in range(turns):
        with serving(path) as (process, address):
            writer = threading.Thread(target=_write, args=(address, 10_000 * (turn + 1), told))
            before = len(told)
            writer.start()
            while len(told) < before + 2 * _TOGETHER * (turn + 1) and writer.is_alive():
                time.sleep(0.003)
            process.kill()
            writer.join(PATIENCE)
            assert not writer.is_alive()
        with Index.open(path, FakeEncoder()) as index:
            assert index.check().problems == []
            assert [name for name in told if name not in index] == []
            assert len(index) % _TOGETHER == 0  # no request is half there
    return len(told)


def _write(address: str, start: int, told: list[str]) -> None:
    with httpx.Client(base_url=address, timeout=PATIENCE) as client:
        for part in range(1000):
            body = documents(start + _TOGETHER * part, _TOGETHER)
            try:
                answer = client.post("/v1/notes/documents", json=body)
            except httpx.TransportError:
                return
            assert answer.status_code == 201
            told.extend(one["id"] for one in body["documents"])
