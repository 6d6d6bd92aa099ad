"""What cannot be asked is a problem with one line of what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from tests.server.conftest import Serve, problem

from saelex.index.index import Index

SEARCHES: list[tuple[dict[str, Any], str]] = [
    ({}, "give a query"),
    ({"query": "wing", "vector": {"indices": [], "values": []}}, "give a query"),
    ({"query": " "}, "query 1 is empty"),
    ({"query": "x" * 10_001}, "10000 characters"),
    ({"query": 5}, "query"),
    ({"query": "wing", "text": "wing"}, "text is what a vector is of"),
    ({"query": "wing", "k": 0}, "k:"),
    ({"query": "wing", "k": 1001}, "k:"),
    ({"query": "wing", "k": "10"}, "k:"),
    ({"query": "wing", "k": 101, "explain": True}, "at most 100 hits"),
    ({"query": "wing", "highlight": 0}, "highlight"),
    ({"query": "wing", "mode": "fuzzy"}, "mode"),
    ({"query": "wing", "mode": "capped"}, "notes: was created without what capped search reads"),
    ({"query": "wing", "boost": ["flying=2"]}, "this index has no labels"),
    ({"query": "wing", "boost": ["#99999"]}, "no latent 99999"),
    ({"query": "wing", "add": ["#5=nan"]}, "not a positive number"),
    ({"query": "wing", "boost": ["#5=1e300"]}, "finite"),
    ({"query": "wing", "ban": ["#5"] * 101}, "ban"),
    ({"query": "wing", "where": {"sort": 1}}, "no document has the field 'sort'"),
    ({"query": "wing", "where": {"year": "old"}}, "year holds number"),
    ({"query": "wing", "where": {"year": {"~": 1}}}, "unknown comparison"),
    ({"query": "wing", "where": {"year": 2**70}}, "larger than any number"),
    ({"query": "wing", "where": {"year": {"in": {}}}}, "where"),
    ({"query": "wing", "where": {"any of": [{"any of": {}}]}}, "takes a list of filters"),
    ({"query": "wing", "where": {"year": [[1]]}}, "neither text, number"),
    ({"query": "wing", "language": "xx"}, "unknown language"),
    ({"query": "wing", "top": 5}, "top: Extra inputs"),
    ({"vector": {"indices": [1, 1], "values": [1.0, 1.0]}}, "twice"),
    ({"vector": {"indices": [1], "values": []}}, "1 indices for 0 values"),
    ({"vector": {"indices": [-1], "values": [1.0]}}, "vector.indices.0"),
]


@pytest.mark.parametrize(("asked", "told"), SEARCHES)
def test_a_search_that_cannot_be(serve: Serve, index: Index, asked: dict[str, Any], told: str) -> None:
    detail = problem(serve().post("/v1/notes/search", json=asked), 400)
    assert told in detail and str(index.path) not in detail


def test_one_bad_search_spoils_no_other(serve: Serve) -> None:
    client = serve()
    assert client.post("/v1/notes/search", json={"query": "wing", "boost": ["#99999"]}).status_code == 400
    assert client.post("/v1/notes/search", json={"query": "wing"}).status_code == 200


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("search_batch", {"queries": []}),
        ("search_batch", {"queries": ["wing", ""]}),
        ("search_batch", {"queries": ["wing"] * 1001}),
        ("search_batch", {"queries": ["wing"] * 11, "k": 1000}),
        ("search_batch", {"queries": ["wing"] * 11, "highlight": 9}),
        ("explain", {"query": "wing"}),
        ("explain", {"query": "wing", "id": "wing", "k": 3}),
        ("encode", {"texts": []}),
        ("encode", {"texts": ["wing"], "side": "both"}),
        ("embed_sparse", {"inputs": ["a", 5]}),
        ("embed_sparse", {"inputs": "a", "normalize": True}),
    ],
)
def test_other_requests_that_cannot_be(serve: Serve, path: str, asked: dict[str, Any]) -> None:
    assert problem(serve().post(f"/v1/notes/{path}", json=asked), 400)


def test_bodies_that_are_no_json(serve: Serve) -> None:
    client = serve()
    as_json = {"content-type": "application/json"}
    for body in (b"", b"{", b"[1", b"\xff\xfe", b'{"query": ' + b"[" * 100_000):
        assert problem(client.post("/v1/notes/search", content=body, headers=as_json), 400)
    number = b'{"query": "a", "k": ' + b"9" * 5000 + b"}"
    assert problem(client.post("/v1/notes/search", content=number, headers=as_json), 400)
    half = b'{"query": "wing \\ud800"}'
    assert "unicode" in problem(client.post("/v1/notes/search", content=half, headers=as_json), 400)
    inside = b'{"query": "wing", "where": {"lang": "\\udfff"}}'
    assert "surrogate" in problem(client.post("/v1/notes/search", content=inside, headers=as_json), 400)
    for headers in ({}, {"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}):
        assert "Content-Type" in problem(client.post("/v1/notes/search", content=b"{}", headers=headers), 415)


def test_paths_and_methods_that_are_not_there(serve: Serve) -> None:
    client = serve()
    assert problem(client.get("/v2"), 404)
    assert problem(client.get("/v1/notes/search"), 405)
    assert problem(client.put("/v1/notes", json={}), 405)
    assert problem(client.get("/v1/notes/documents/"), 404)
    assert problem(client.get("/docs"), 404)
