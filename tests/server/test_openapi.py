"""The OpenAPI document against the server: whatever it allows, and what it does not, is no failure of the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from schemathesis import GenerationMode
from tests.server.conftest import Serve
from tests.server.made_up import schema as schema_in
from tests.server.made_up import statuses


@pytest.fixture  # of each test its own: schemathesis ends an app with the test that asked it
def schema(tmp_path: Path) -> Iterator[Any]:
    with schema_in(tmp_path) as document:
        yield document


def test_what_the_document_allows_is_answered(schema: Any) -> None:
    found = statuses(schema, GenerationMode.POSITIVE, 4)
    assert found[200] > 15 and found[201] > 0 and set(found) <= {200, 201, 204, 400, 404, 413, 501}


def test_what_it_does_not_allow_is_refused(schema: Any) -> None:
    found = statuses(schema, GenerationMode.NEGATIVE, 4)
    assert found[400] > 15 and max(found) < 502


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_thousands_of_requests_break_nothing(schema: Any, mode: GenerationMode) -> None:
    assert sum(statuses(schema, mode, 320).values()) > 2500  # of some operations no request can be wrong


def test_the_document_is_whole(serve: Serve) -> None:
    document = serve(api_key="k").get("/openapi.json", headers={"x-api-key": "k"}).json()
    assert "422" not in json.dumps(document)
    paths = document["paths"]
    assert set(paths) == {
        "/v1/indexes", "/v1/{index}", "/health", "/ready", "/metrics", "/v1/{index}/encode",
        "/v1/{index}/embed_sparse", "/v1/embeddings", "/v1/{index}/search", "/v1/{index}/search_batch",
        "/v1/{index}/explain", "/v1/{index}/concepts", "/v1/{index}/concepts/{latent}", "/v1/{index}/documents",
        "/v1/{index}/documents/{id}", "/v1/{index}/documents/delete",
    }  # fmt: skip
    for name, schema in document["components"]["schemas"].items():
        if name.endswith("Request"):
            assert schema["examples"], name
    assert document["security"] == [{"bearer": []}, {"key": []}]
    refs = set(json.dumps(document).split('"#/components/schemas/')[1:])
    assert {ref.split('"')[0] for ref in refs} <= set(document["components"]["schemas"])
