"""A real server on a real port: commits of others, locks, kills, an end in order."""

from __future__ import annotations

import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest
from tests.index.fakes import FakeEncoder, make_documents
from tests.server.conftest import problem
from tests.server.killing import documents, kill_while_writing
from tests.server.serving import PATIENCE, serving

from saelex.errors import InputError
from saelex.index.index import Index
from saelex.server import running
from saelex.server.running import allowed_hosts, is_loopback, run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Index.create(tmp_path / "i", FakeEncoder()) as index:
        index.add(make_documents(20))
    return tmp_path / "i"


def test_commits_of_both_sides_locks_and_an_end_in_order(path: Path) -> None:
    with serving(path) as (process, address), httpx.Client(base_url=address, timeout=PATIENCE) as client:
        with Index.open(path, FakeEncoder()) as other:
            other.add([{"id": "theirs", "text": "A submarine."}])
            found = client.post("/v1/notes/search", json={"query": "submarine"}).json()["hits"]
            assert [hit["id"] for hit in found] == ["theirs"]
            assert client.post("/v1/notes/documents", json=documents(100, 5)).status_code == 201
            assert "d102" in other and len(other.search("only102")) == 1
            with other._storage.writing():
                locked = client.post("/v1/notes/documents", json=documents(200, 1))
                assert "another process" in problem(locked, 409) and locked.headers["retry-after"]
                assert problem(client.delete("/v1/notes/documents/d1"), 409)
            assert client.delete("/v1/notes/documents/d1").status_code == 204

        # what is under way when it is told to stop comes to its end
        answers: list[httpx.Response] = []
        many = documents(1000, 900)
        writer = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{address}/v1/notes/documents", json=many, timeout=PATIENCE))
        )
        writer.start()
        while writer.is_alive() and not _writes(client):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        writer.join(PATIENCE)
        assert process.wait(PATIENCE) == 0 and process.stdout is not None
        assert process.stdout.read().strip() == "ended"
        assert answers[0].status_code == 201
    with Index.open(path, FakeEncoder()) as index:
        assert len(index) == 20 + 1 + 5 - 1 + 900
        assert index.check().problems == []


def _writes(client: httpx.Client) -> bool:
    """Whether a write is under way."""
    return 'saelex_queue_items{queue="write"} 1.0' in client.get("/metrics").text


def test_a_kill_while_it_writes_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    assert kill_while_writing(tmp_path / "i", turns=2) >= 60


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="cannot listen there"):
            run(None, "127.0.0.1", taken.getsockname()[1], grace=1, listening=lambda address: None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no address"):
        running._socket("no such host.invalid", 1)


def test_what_is_reached_from_this_machine_alone() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.1.2.3", "::1", "LOCALHOST")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.2", "example.org", "127.example.org", "")))
    assert allowed_hosts("127.0.0.1", (), key=True) == ()
    assert "evil.example" not in allowed_hosts("127.0.0.1", (), key=False)
    assert {"localhost", "127.0.0.1", "::1"} <= set(allowed_hosts("127.0.0.1", (), key=False))
    assert {"a.example", "localhost"} <= set(allowed_hosts("0.0.0.0", ("a.example",), key=True))
