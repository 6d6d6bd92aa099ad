"""The MCP server, asked by the SDK's own client: in this process, over stdin and stdout, and over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp_types import CallToolResult, TextContent
from tests.encoder.tiny_encoders import tiny_encoder
from tests.index.fakes import FakeEncoder, WaitingEncoder, make_documents

from saelex.corpus.documents import Document
from saelex.encoder.encoder import Encoder
from saelex.errors import CorruptIndexError, InputError
from saelex.index.index import Index
from saelex.integrations.mcp import MOST_DOCUMENT, http_app, mcp_server

Result = TypeVar("Result")
PATIENCE = 300  # seconds until a test that hangs fails
TOOLS = ["search", "explain", "concepts", "document", "indexes"]
LONG = Document(
    "long", " ".join(["canoe", "wing" * 2000, *["sail"] * 3000]), "T" * 5000, {"lang": "en", "url": "https://a/b"}
)
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}


def run(coroutine: Awaitable[Result]) -> Result:
    return asyncio.run(asyncio.wait_for(coroutine, PATIENCE))


def asked(indexes: dict[str, Index], *calls: tuple[str, dict[str, Any]], mode: str = "auto") -> list[CallToolResult]:
    """What the tools answer to a client in this process."""

    async def ask() -> list[CallToolResult]:
        async with Client(mcp_server(indexes), mode=mode) as client:
            return [await client.call_tool(name, arguments) for name, arguments in calls]

    return run(ask())


def text(answer: CallToolResult) -> str:
    (content,) = answer.content
    assert isinstance(content, TextContent)
    return content.text


def refusal(answer: CallToolResult) -> str:
    """A tool's error: one line, and nothing beside it."""
    assert answer.is_error and answer.structured_content is None
    assert "\n" not in text(answer)
    return text(answer)


@pytest.fixture(scope="module")
def boats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Fifty documents and a long one, with labels, over an encoder without a model."""
    path = tmp_path_factory.mktemp("mcp") / "boats.saelex"
    with Index.create(path, FakeEncoder()) as index:
        index.add([*make_documents(50), LONG])
        index.label()
        yield index


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index on disk whose encoder another process can load."""
    folder = tmp_path_factory.mktemp("real")
    tiny_encoder(folder / "bert").save_pretrained(folder / "model")
    with Index.create(folder / "boats.saelex", Encoder.load(folder / "model")) as index:
        index.add(make_documents(20))
        index.label()
    return folder / "boats.saelex"


# ---- tools ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_tools_are_listed_read_only_and_with_schemas(boats: Index, mode: str) -> None:
    async def listed() -> Any:
        async with Client(mcp_server({"boats": boats}, about="Notes on boats."), mode=mode) as client:
            return (await client.list_tools()).tools, client.instructions

    tools, instructions = run(listed())
    assert [tool.name for tool in tools] == TOOLS
    assert instructions.startswith("Notes on boats.")
    for tool in tools:
        assert tool.annotations.read_only_hint and not tool.annotations.open_world_hint
        assert tool.input_schema["additionalProperties"] is False
        assert tool.output_schema["type"] == "object"
    search = tools[0]
    assert "Notes on boats." in search.description and "`ban`" in search.description
    assert list(search.input_schema["properties"]) == ["query", "boost", "ban", "add", "k", "where"]
    assert search.input_schema["required"] == ["query"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"boost": ["river=4", "word:bank"], "ban": ["wing"]},
        {"add": ["#7=1.5", "money=2"], "where": {"lang": "de", "year": {">=": 1995}}},
    ],
)
def test_search_answers_what_index_search_finds(boats: Index, mode: str, options: dict[str, Any]) -> None:
    query = "wing of a river bank"
    hits = boats.search(query, 7, **options)
    (answer,) = asked({"boats": boats}, ("search", {"query": query, "k": 7, **options}), mode=mode)
    assert len(hits) == 7 and not answer.is_error
    found = answer.structured_content["hits"]
    assert [(one["rank"], one["id"], one["score"]) for one in found] == [
        (hit.rank, hit.id, round(hit.score, 4)) for hit in hits
    ]
    for one, hit in zip(found, hits):
        assert one["rest"] + sum(row["contribution"] for row in one["reasons"]) == pytest.approx(hit.score, abs=1e-3)
        assert [row["concept"] for row in one["reasons"]] == [
            row.label for row in hit.explain().top(3) if row.latent >= 0
        ]
        assert one["snippet"].replace("**", "") == hit.snippet().text
        assert one["snippet"].count("**") == 2 * len(hit.snippet().marks)
        assert one["offset"] == hit.snippet().start
    lines = text(answer).splitlines()
    assert [line for line in lines if re.match(r"\d", line)] == [
        f'{hit.rank}. {hit.document.title} (id "{hit.id}", {hit.score:.2f})' for hit in hits
    ]


def test_what_steering_did_is_said_and_its_names_can_be_given_back(boats: Index) -> None:
    plain, boosted = asked(
        {"boats": boats}, ("search", {"query": "wing", "k": 1}), ("search", {"query": "wing", "boost": ["wing=3"]})
    )
    (reason,) = [row for row in plain.structured_content["hits"][0]["reasons"] if row["concept"] == "wing"]
    assert "steered" not in reason
    assert boosted.structured_content["hits"][0]["reasons"][0]["steered"] == "boost x3"
    everything = [f"#{latent}" for latent in reason["ids"]] + ["word:wing"]
    (banned,) = asked({"boats": boats}, ("search", {"query": "wing", "ban": everything}))
    assert banned.structured_content == {"hits": []} and text(banned).startswith("No hits")


def test_explain_answers_what_find_explains(boats: Index) -> None:
    options = {"ban": ["drag"], "boost": ["flood"]}
    hit = boats.find("flood drag storm", "d7", **options)
    (answer,) = asked({"boats": boats}, ("explain", {"query": "flood drag storm", "id": "d7", **options}))
    told = answer.structured_content
    assert (told["id"], told["rank"], told["documents"]) == ("d7", hit.rank, 51)
    assert told["score"] == round(hit.score, 4)
    assert [(row["concept"], row["contribution"]) for row in told["reasons"]] == [
        (row.label, round(row.contribution, 4)) for row in hit.explain().by_label
    ]
    assert told["banned"] == ["drag"]
    assert f"rank {hit.rank} of 51 documents" in text(answer) and "banned: drag" in text(answer)


def test_concepts_of_a_text_and_one_concept(boats: Index) -> None:
    fired = boats.concepts_in("a canoe on the river")
    latent = fired[0].latent
    of_text, of_one = asked(
        {"boats": boats}, ("concepts", {"text": "a canoe on the river"}), ("concepts", {"concept": f"#{latent}"})
    )
    assert [(one["id"], one["concept"], one["share"]) for one in of_text.structured_content["fired"]] == [
        (one.latent, one.label, round(one.density, 4)) for one in fired
    ]
    assert of_text.structured_content["more"] == 0
    view, known = boats.concept(latent), of_one.structured_content["known"]
    assert known["concept"] == view.label and known["share"] == round(view.density, 4)
    assert view.concept is not None
    assert known["evidence"] == [row.word for row in view.concept.evidence[:10]]
    assert [row["id"] for row in known["examples"]] == [row.document_id for row in view.concept.examples[:3]]
    assert [row["id"] for row in known["fires_with"]] == [near.latent for near in view.fires_with[:5]]
    assert f"{view.label} #{latent}" in text(of_one)


def test_a_document_is_read_in_parts(boats: Index) -> None:
    content = boats.document("long").content

    async def read() -> str:
        async with Client(mcp_server({"boats": boats})) as client:
            offset, parts = 0, ""
            while True:
                answer = await client.call_tool("document", {"id": "long", "offset": offset, "length": MOST_DOCUMENT})
                part = answer.structured_content
                assert part is not None and part["characters"] == len(content) and len(part["text"]) <= MOST_DOCUMENT
                assert part["metadata"] == {"lang": "en", "url": "https://a/b"}
                parts += part["text"]
                if "next_offset" not in part:
                    return parts
                offset = part["next_offset"]

    assert run(read()) == content


def test_indexes_are_told_with_their_fields_and_chosen_by_name(boats: Index, tmp_path: Path) -> None:
    with Index.create(tmp_path / "planes.saelex", FakeEncoder(), words=False) as planes:
        planes.add([Document("p", "a wing")])
        both = {"boats": boats, "planes": planes}
        told, found, unnamed, unknown, odd = asked(
            both,
            ("indexes", {}),
            ("search", {"query": "wing", "index": "planes"}),
            ("search", {"query": "wing"}),
            ("document", {"id": "p", "index": "trains"}),
            ("search", {"query": "wing", "index": "planes", "limit": 3}),
        )
    assert told.structured_content["indexes"] == [
        {
            "name": "boats",
            "documents": 51,
            "words": True,
            "labelled_concepts": len(boats.concepts or ()),
            "fields": {"lang": ["text"], "url": ["text"], "year": ["number"]},
        },
        {"name": "planes", "documents": 1, "words": False, "labelled_concepts": 0, "fields": {}},
    ]
    assert [hit["id"] for hit in found.structured_content["hits"]] == ["p"]
    assert refusal(unnamed) == "search: index is one of boats, planes, not None"
    assert refusal(unknown) == "document: index is one of boats, planes, not 'trains'"
    assert refusal(odd).startswith("search: unknown argument 'limit'; it takes index, query")


def test_answers_are_small_whatever_the_documents_hold(boats: Index) -> None:
    many, one = asked(
        {"boats": boats},
        ("search", {"query": "canoe sail", "k": 20}),
        ("search", {"query": "canoe sail", "where": {"url": "https://a/b"}}),
    )
    assert len(many.structured_content["hits"]) == 20 and len(text(many)) < 20 * 1000
    (long,) = one.structured_content["hits"]
    assert long["id"] == "long" and len(json.dumps(long)) < 2500
    assert len(long["title"]) == 160 and len(long["snippet"]) <= 800 and long["url"] == "https://a/b"


# ---- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "arguments", "wanted"),
    [
        ("search", {"q": "wing"}, "search: unknown argument 'q'; it takes query, boost, ban, add, k, where"),
        ("search", {}, "search: query: field required"),
        ("search", {"query": "  "}, "query 1 is empty; give it a word at least"),
        ("search", {"query": "wing", "k": 21}, "search: k: input should be less than or equal to 20"),
        ("search", {"query": "wing", "k": True}, "search: k: input should be a valid integer"),
        ("search", {"query": "x" * 2001}, "search: query: string should have at most 2000 characters"),
        ("search", {"query": "wing", "ban": "lift"}, "search: ban: input should be a valid list"),
        ("search", {"query": "wing", "where": {"colour": "red"}}, "where: no document has the field 'colour'"),
        ("search", {"query": "wing", "where": {"lang": ["x" * 5000]}}, "where: longer than 4000 characters"),
        ("search", {"query": "wing", "add": ["lift"]}, "'lift': write NAME=NUMBER"),
        ("search", {"query": "wing", "ban": ["spaceship"]}, "no concept is labelled 'spaceship'"),
        ("explain", {"query": "money", "id": "nowhere"}, "id 'nowhere' is not in the index"),
        ("explain", {"query": "submarine", "id": "d1"}, "document 'd1' scores 0"),
        ("concepts", {}, "concepts takes a text or a concept, one of the two"),
        ("concepts", {"text": "wing", "concept": "wing"}, "concepts takes a text or a concept, one of the two"),
        ("document", {"id": "d1", "offset": 9999}, "offset 9999: the document has "),
        ("document", {"id": "d1", "length": 8001}, "document: length: input should be less than or equal to 8000"),
        ("indexes", {"all": True}, "indexes: unknown argument 'all'; it takes none"),
    ],
)
def test_what_cannot_be_asked_is_a_tools_error_in_one_line(
    boats: Index, tool: str, arguments: dict[str, Any], wanted: str
) -> None:
    (answer,) = asked({"boats": boats}, (tool, arguments))
    assert refusal(answer).startswith(wanted)


def test_null_stands_for_a_default(boats: Index) -> None:
    one, other = asked(
        {"boats": boats}, ("search", {"query": "wing"}), ("search", {"query": "wing", "k": None, "where": None})
    )
    assert one.structured_content == other.structured_content and len(one.structured_content["hits"]) == 5


def test_a_tool_that_is_not_there_is_an_error_of_the_protocol(boats: Index) -> None:
    async def ask() -> None:
        async with Client(mcp_server({"boats": boats})) as client:
            with pytest.raises(MCPError, match="no tool 'delete'; there are search, "):
                await client.call_tool("delete", {})

    run(ask())


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(
    ("raised", "told", "logged"),
    [
        (lambda path: InputError(f"{path}: no such mode"), "boats: no such mode", ""),
        (lambda path: CorruptIndexError(f"{path}: damaged"), "search failed; the server's log says where", "damaged"),
        (lambda path: RuntimeError("at my secret"), "search failed; the server's log says where", "RuntimeError"),
    ],
)
def test_no_path_and_no_trace_reach_the_client_and_no_query_the_log(
    boats: Index,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    mode: str,
    raised: Callable[[Path], Exception],
    told: str,
    logged: str,
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise raised(boats.path)

    monkeypatch.setattr(Index, "search", broken)
    (answer,) = asked({"boats": boats}, ("search", {"query": "my secret"}), mode=mode)
    assert refusal(answer) == told
    assert logged in caplog.text and "secret" not in caplog.text
    assert bool(logged) == bool(caplog.text)


def test_other_requests_are_answered_while_a_search_waits(tmp_path: Path) -> None:
    encoder = WaitingEncoder(PATIENCE)

    async def ask(index: Index) -> list[str]:
        async with Client(mcp_server({"boats": index})) as client:
            search = asyncio.create_task(client.call_tool("search", {"query": "wing"}))
            other = await client.call_tool("document", {"id": "d1"})
            assert not search.done() and other.structured_content is not None
            encoder.told.set()
            return [other.structured_content["id"], (await search).structured_content["hits"][0]["id"]]  # type: ignore[index]

    with Index.create(tmp_path / "boats.saelex", encoder) as index:
        index.add(make_documents(10))
        first, found = run(ask(index))
        assert (first, found) == ("d1", index.search("wing", 1)[0].id)


def test_a_server_without_an_index_is_refused() -> None:
    with pytest.raises(InputError, match="an index at least"):
        mcp_server({})


# ---- over stdin and stdout ------------------------------------------------------------------------------------------


def test_the_sdks_client_over_stdio(real: Path) -> None:
    """`saelex mcp` as clients start it: all that it answers is what the index says."""
    command = ["-m", "saelex", "mcp", str(real), "--about", "Boats."]
    server = StdioServerParameters(command=sys.executable, args=command, env=ENVIRONMENT)

    async def ask() -> tuple[list[str], list[CallToolResult]]:
        async with Client(server) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            calls: list[tuple[str, dict[str, Any]]] = [
                ("search", {"query": "the wing of a canoe", "k": 3}),
                ("explain", {"query": "the wing of a canoe", "id": found[0].id}),
                ("concepts", {"text": "a canoe"}),
                ("document", {"id": "d3"}),
                ("indexes", {}),
                ("search", {"query": "wing", "mode": "fast"}),
            ]
            return names, [await client.call_tool(name, arguments) for name, arguments in calls]

    with Index.open(real) as index:
        found = index.search("the wing of a canoe", 3)
        fired = index.concepts_in("a canoe")
        names, (search, explain, concepts, document, indexes, refused) = run(ask())
        assert names == TOOLS
        assert [(hit["id"], hit["score"]) for hit in search.structured_content["hits"]] == [
            (hit.id, pytest.approx(hit.score, abs=1e-3)) for hit in found
        ]
        assert explain.structured_content["score"] == search.structured_content["hits"][0]["score"]
        assert [one["id"] for one in concepts.structured_content["fired"]] == [one.latent for one in fired[:15]]
        assert document.structured_content["text"] == index.document("d3").content
        assert indexes.structured_content["indexes"][0]["name"] == "boats"
        assert refusal(refused).startswith("search: unknown argument 'mode'")


SERVE = """
import os, sys
from pathlib import Path
from tests.index.fakes import FakeEncoder, WaitingEncoder, make_documents
from saelex.index.index import Index
from saelex.integrations.mcp import mcp_server, serve_stdio

class Noisy(FakeEncoder):
    def encode_query(self, texts):
        print("a progress bar")
        os.write(1, b"a library in C")
        return super().encode_query(texts)

with Index.create(Path(sys.argv[1]) / "boats.saelex", Noisy()) as index:
    index.add(make_documents(10))
    serve_stdio(mcp_server({"boats": index}))
print("closed in order", file=sys.stderr)
"""
OPENING = [
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A server in a process of its own whose encoder writes to stdout, with the handshake made."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **ENVIRONMENT},
    )
    try:
        send(process, *OPENING)
        assert answer_of(process)["id"] == 1
        yield process
    finally:
        process.kill()
        process.communicate()


def send(process: subprocess.Popen[str], *messages: Any) -> None:
    assert process.stdin is not None
    for message in messages:
        process.stdin.write((message if isinstance(message, str) else json.dumps(message)) + "\n")
    process.stdin.flush()


def answer_of(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": name, "method": "tools/call", "params": {"name": name, "arguments": arguments}}


def test_nothing_but_the_protocol_is_on_stdout(served: subprocess.Popen[str]) -> None:
    send(served, "no JSON at all", call("search", query="wing"))
    answer = answer_of(served)
    assert answer["id"] == "search" and answer["result"]["structuredContent"]["hits"]
    out, err = served.communicate(timeout=PATIENCE)  # closes stdin
    assert out == "" and served.returncode == 0
    assert "a progress bar" in err and "a library in C" in err and err.endswith("closed in order\n")
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_ends_it_in_order_while_stdin_is_open(served: subprocess.Popen[str], number: signal.Signals) -> None:
    served.send_signal(number)
    assert served.wait(PATIENCE) == 0
    assert served.stderr is not None
    err = served.stderr.read()
    assert err.endswith("closed in order\n") and "Traceback" not in err


@pytest.mark.slow
def test_a_client_that_has_gone_is_an_end(served: subprocess.Popen[str]) -> None:
    assert served.stdout is not None and served.stdin is not None and served.stderr is not None
    served.stdout.close()
    send(served, call("search", query="wing"))
    assert served.wait(PATIENCE) == 0
    err = served.stderr.read()
    assert err.endswith("closed in order\n") and "Traceback" not in err


# ---- over HTTP ------------------------------------------------------------------------------------------------------


def test_the_sdks_client_over_http_its_limits_and_its_end(real: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "saelex", "mcp", str(real), "--http", "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **ENVIRONMENT, "SAELEX_API_KEY": ""},
    )
    try:
        assert process.stderr is not None
        url = process.stderr.readline().rpartition(" ")[2].strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/mcp", url)

        async def ask(mode: str) -> list[CallToolResult]:
            async with Client(url, mode=mode) as client:
                assert [tool.name for tool in (await client.list_tools()).tools] == TOOLS
                return [
                    await client.call_tool("search", {"query": "a secret wing", "k": 4}),
                    await client.call_tool("search", {"query": "a secret wing", "ban": ["a secret concept"]}),
                ]

        with Index.open(real) as index:
            hits = index.search("a secret wing", 4)
        for mode in ("auto", "legacy"):
            found, refused = run(ask(mode))
            assert [(hit["id"], hit["score"]) for hit in found.structured_content["hits"]] == [
                (hit.id, pytest.approx(hit.score, abs=1e-3)) for hit in hits
            ]
            assert refusal(refused).startswith("no concept is labelled 'a secret concept'")
        process.send_signal(signal.SIGTERM)
        err = process.stderr.read()
        assert process.wait(PATIENCE) == 0
        assert "secret" not in err and "Traceback" not in err
    finally:
        process.kill()
        process.wait()


def over_http(boats: Index, **settings: Any) -> Callable[..., Any]:
    """Sends one request to the application in this process: its status."""
    kept = {"content-type": "application/json", "accept": "application/json, text/event-stream"}

    def request(method: str = "POST", host: str = "127.0.0.1:8765", body: Any = None, **headers: str) -> int:
        async def ask() -> int:
            app = http_app(mcp_server({"boats": boats}), **settings)
            transport = httpx2.ASGITransport(app=app)
            content = json.dumps(body or {"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
            async with (
                app.router.lifespan_context(app),
                httpx2.AsyncClient(transport=transport, base_url=f"http://{host}") as client,
            ):
                answer = await client.request(method, "/mcp", content=content, headers={**kept, **headers})
                return answer.status_code

        return run(ask())

    return request


def test_only_the_loopbacks_names_and_those_allowed_are_answered(boats: Index) -> None:
    request = over_http(boats)
    assert request() == request(host="localhost:1") == request(host="[::1]:1") == request(host="localhost") == 200
    assert request(origin="http://localhost:3000") == 200
    assert request(host="evil.example:8765") == 421
    assert request(origin="http://evil.example") == 403
    behind = over_http(boats, hosts=["search.example.org"])
    assert behind(host="search.example.org", origin="https://search.example.org") == 200
    assert behind(host="evil.example") == 421


def test_other_methods_and_large_bodies_are_refused(boats: Index) -> None:
    request = over_http(boats)
    assert request("GET") == request("DELETE") == 405
    assert request(body={"jsonrpc": "2.0", "id": 1, "method": "x" * 300_000}) == 413


def test_a_key_is_asked_for(boats: Index) -> None:
    request = over_http(boats, key="open sesame")
    assert request(authorization="Bearer open sesame") == 200
    assert request() == request(authorization="Bearer open") == request(authorization="open sesame") == 401
