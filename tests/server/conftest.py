"""An index of a quick encoder, and a client of an app that serves it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.index.fakes import FakeEncoder

from saelex.concepts.concept import Concept
from saelex.index.index import Index
from saelex.server.app import create_app
from saelex.server.settings import Settings

DOCUMENTS: list[dict[str, Any]] = [
    {"id": "wing", "title": "Lift", "text": "The wing of an aircraft creates lift.", "lang": "en", "year": 1950},
    {"id": "bank", "title": "Money", "text": "A bank lends money; the river bank floods.", "lang": "en", "year": 1990},
    {"id": "fluss", "text": "Der Fluss und die Bank.", "lang": "de", "url": "https://example.org/fluss"},
    {"id": "a/zip ?#", "title": "Archives", "text": "Reading a zip archive 🗜 of wings.", "year": 2010},
]

Serve = Callable[..., TestClient]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.create(tmp_path / "notes.saelex", FakeEncoder()) as made:
        made.add(DOCUMENTS)
        yield made


@pytest.fixture
def labelled(index: Index) -> Index:
    """With a label for each of the two latents of "wing", and one for both of "bank"."""
    fired = {word: [one.latent for one in index.concepts_in(word)] for word in ("wing", "bank")}
    labels = dict(zip(fired["wing"], ("flying", "lifting"))) | dict.fromkeys(fired["bank"], "finance · shore")
    index.write_concepts([Concept(latent, label, (), (), 0.5, 1.0) for latent, label in sorted(labels.items())])
    return index


@pytest.fixture
def serve(index: Index) -> Iterator[Serve]:
    """`serve(writable=True)`: a client of the index served as "notes"."""
    with ExitStack() as stack:

        def start(**settings: Any) -> TestClient:
            app = create_app({"notes": index}, Settings(**settings))
            client = TestClient(app, raise_server_exceptions=False)
            stack.enter_context(client)
            return client

        yield start


def problem(response: Any, status: int) -> str:
    """The detail of an answer that must be a problem of this status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert list(body) == ["type", "title", "status", "detail", "instance"] and body["status"] == status
    assert ("\n" not in body["detail"] and body["instance"] == response.request.url.path) or "%" in str(response.url)
    return str(body["detail"])
