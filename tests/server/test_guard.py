"""What stands before every route: keys, hosts, sizes, time, headers, the log."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from tests.index.fakes import FakeEncoder, make_documents
from tests.server.conftest import Serve, problem

from saelex.corpus.documents import Document
from saelex.index.adding import AddReport
from saelex.index.index import Index
from saelex.server.app import create_app
from saelex.server.guard import Deadline
from saelex.server.settings import Settings
from saelex.vectors import SparseRows

PATIENCE = 60
SEARCH = "/v1/notes/search"


def test_a_key_is_wanted_but_for_the_page_and_health(serve: Serve) -> None:
    client = serve(api_key="sécret")
    for path in ("/v1/indexes", "/v1/notes", "/ready", "/metrics", "/openapi.json", "/v1/notes/concepts?text=a", "/x"):
        refused = client.get(path)
        assert "API key" in problem(refused, 401) and refused.headers["www-authenticate"] == "Bearer"
    key = "sécret".encode()
    for headers in ({"authorization": b"Bearer " + key}, {"x-api-key": key}, {"authorization": b"bearer  " + key}):
        assert client.get("/v1/indexes", headers=headers).status_code == 200
    for wrong in ({"authorization": b"Basic " + key}, {"x-api-key": b"s"}, {"authorization": b"Bearer"}):
        assert problem(client.get("/v1/indexes", headers=wrong), 401)
    assert client.get("/health").status_code == 200
    assert client.get("/").status_code != 401 and client.get("/page/none.css").status_code == 404
    assert serve().get("/v1/indexes").status_code == 200


def test_only_its_own_host_names_are_answered(serve: Serve) -> None:
    client = serve(allowed_hosts=("localhost", "::1", "notes.example.org"))
    for host in ("localhost", "LOCALHOST:8000", "[::1]:8000", "notes.example.org"):
        assert client.get("/health", headers={"host": host}).status_code == 200
    for host in ("evil.example.org", "evil.localhost", ""):
        assert "host name" in problem(client.get("/health", headers={"host": host}), 400)


def test_every_answer_has_the_security_headers(serve: Serve) -> None:
    client = serve(cors_origins=("https://page.example.org",), api_key="k")
    asked = {"origin": "https://page.example.org", "access-control-request-method": "POST"}
    preflight = client.options(SEARCH, headers=asked)
    answers = [client.get("/health"), client.get("/v1/notes"), client.get("/none"), preflight]
    for answer in answers:
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"


def test_pages_elsewhere_may_ask_only_where_they_are_named(serve: Serve) -> None:
    origin = {"origin": "https://page.example.org"}
    asked = {**origin, "access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    closed, open_to = serve(), serve(cors_origins=("https://page.example.org",))
    assert "access-control-allow-origin" not in closed.get("/health", headers=origin).headers
    assert problem(closed.options(SEARCH, headers=asked), 405)
    preflight = open_to.options(SEARCH, headers=asked)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://page.example.org"
    other = open_to.get("/health", headers={"origin": "https://evil.example.org"})
    assert "access-control-allow-origin" not in other.headers


def test_a_body_has_a_bound_told_or_not(serve: Serve) -> None:
    client = serve(body_bytes=1000)
    headers = {"content-type": "application/json"}
    fits, beyond = b'{"query": "wing"}'.ljust(1000), b'{"query": "wing"}'.ljust(1001)
    assert client.post(SEARCH, content=fits, headers=headers).status_code == 200
    assert "1,000 bytes" in problem(client.post(SEARCH, content=beyond, headers=headers), 413)
    pieces = (beyond[i : i + 100] for i in range(0, len(beyond), 100))
    assert problem(client.post(SEARCH, content=pieces, headers=headers), 413)


def test_what_breaks_inside_is_a_problem_and_in_the_log(
    serve: Serve, index: Index, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve()
    monkeypatch.setattr(Index, "document", lambda self, name: 1 / 0)
    answer = client.get("/v1/notes/documents/wing")
    assert "its log" in problem(answer, 500) and "ZeroDivisionError" not in answer.text
    assert answer.headers["x-frame-options"] == "DENY"
    assert "ZeroDivisionError" in caplog.text


def test_the_log_has_no_path_and_no_query_unless_asked(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "saelex.server")
    for client in (serve(), serve(log_queries=True)):
        client.post(SEARCH, json={"query": "secretwing"})
        client.get("/v1/notes/concepts", params={"text": "secretwing"})
        client.get("/v1/notes/documents/secretwing")
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("saelex.server")]
    assert len(lines) == 6
    assert lines[0].startswith("POST /v1/{index}/search 200 in ")
    assert not any("secretwing" in line for line in lines[:3]) and all("secretwing" in line for line in lines[3:])


class Waiting(FakeEncoder):
    """Encodes a query only when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.told, self.begun = threading.Event(), threading.Event()

    def encode_query(self, texts: str | Sequence[str]) -> SparseRows:
        self.begun.set()
        assert self.told.wait(PATIENCE)
        return super().encode_query(texts)


def waiting_server(tmp_path: Path, **settings: float) -> tuple[Waiting, Index, httpx.AsyncClient]:
    encoder = Waiting()
    index = Index.create(tmp_path / "w", encoder)
    index.add(make_documents(5))
    app = create_app({"notes": index}, Settings(**settings))  # type: ignore[arg-type]
    return encoder, index, httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://notes")


def test_a_request_has_its_time_and_the_loop_goes_on(tmp_path: Path) -> None:
    encoder, index, client = waiting_server(tmp_path, seconds=0.2)

    async def ask() -> list[httpx.Response]:
        late = asyncio.create_task(client.post(SEARCH, json={"query": "wing"}))
        while not encoder.begun.is_set():
            await asyncio.sleep(0)
        alive = await client.get("/health")  # while the encoder holds its thread
        answers = [alive, await late]
        encoder.told.set()
        while (then := await client.post(SEARCH, json={"query": "river"})).status_code == 503:
            pass  # on a machine that is busy this one, too, may be late
        return [*answers, then]

    with index:
        alive, late, then = asyncio.run(ask())
    assert alive.status_code == then.status_code == 200
    assert "within 0.2 seconds" in problem(late, 503) and late.headers["retry-after"] == "1"


def test_what_has_begun_is_not_given_up_and_what_is_given_up_does_not_begin() -> None:
    begun, late = Deadline(0.0), Deadline(0.0)
    begun.lift()
    assert not begun.give_up() and late.give_up()
    with pytest.raises(TimeoutError):
        late.lift()


def test_a_write_that_has_begun_is_answered_after_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, index, client = waiting_server(tmp_path, seconds=1.0, writable=True)
    add = Index.add

    def slow(self: Index, documents: list[Document]) -> AddReport:
        encoder.begun.set()
        assert encoder.told.wait(PATIENCE)
        return add(self, documents)

    monkeypatch.setattr(Index, "add", slow)

    async def ask() -> list[httpx.Response]:
        def add(name: str) -> asyncio.Task[httpx.Response]:
            body = {"documents": [{"id": name, "text": "a wing"}]}
            return asyncio.create_task(client.post("/v1/notes/documents", json=body))

        first = add("first")
        while not encoder.begun.is_set():
            await asyncio.sleep(0)
        second = add("second")  # waits for its turn
        answers = [await second]
        encoder.told.set()
        return [await first, *answers]

    with index:
        first, second = asyncio.run(ask())
        assert first.status_code == 201 and problem(second, 503)
        assert "first" in index and "second" not in index


def test_a_full_queue_says_when_to_come_again(tmp_path: Path) -> None:
    encoder, index, client = waiting_server(tmp_path, queue=3)

    async def ask() -> list[httpx.Response]:
        waiting = [asyncio.create_task(client.post(SEARCH, json={"query": f"wing {n}"})) for n in range(3)]
        while not encoder.begun.is_set():
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        full = await client.post(SEARCH, json={"query": "one too many"})
        encoder.told.set()
        return [full, *await asyncio.gather(*waiting)]

    with index:
        full, *answered = asyncio.run(ask())
    assert "wait already" in problem(full, 429) and full.headers["retry-after"] == "1"
    assert [answer.status_code for answer in answered] == [200, 200, 200]


def test_many_at_once_have_the_answers_of_one_at_a_time(tmp_path: Path) -> None:
    words = ("wing", "river", "bank", "lift", "zip")
    asked = [
        {"query": f"{one} {other}", "k": k, **more}
        for one in words for other in words for k in (3, 7)
        for more in ({}, {"where": {"lang": "en"}}, {"ban": ["word:wing"]}, {"explain": True})
    ]  # fmt: skip
    with Index.create(tmp_path / "i", FakeEncoder()) as index:
        index.add(make_documents(60))
        app = create_app({"notes": index}, Settings())
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://notes")

        async def ask() -> list[httpx.Response]:
            return await asyncio.gather(*(client.post(SEARCH, json=one) for one in asked))

        answers = asyncio.run(ask())
        for one, answer in zip(asked, answers):
            assert answer.status_code == 200, answer.text
            hits = [(hit["rank"], hit["id"], hit["score"]) for hit in answer.json()["hits"]]
            options = {name: value for name, value in one.items() if name not in ("query", "k", "explain")}
            own = index.search(str(one["query"]), int(str(one["k"])), **options)  # type: ignore[arg-type]
            assert hits == [(hit.rank, hit.id, hit.score) for hit in own]
        metrics = asyncio.run(client.get("/metrics")).text
    [batches] = [line for line in metrics.splitlines() if line.startswith('saelex_batch_items_count{queue="search"}')]
    assert float(batches.split()[-1]) < len(asked) / 2  # they went together indeed
