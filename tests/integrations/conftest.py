"""A tiny index for every framework. What a framework would send home is off before it is imported."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tests.index.fakes import FakeEncoder, make_documents

from saelex.corpus.documents import Document
from saelex.index.index import Index

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "false"
os.environ["LANGSMITH_TRACING"] = os.environ["LANGCHAIN_TRACING_V2"] = "false"

LONG = Document(
    "long",
    f"canoe {'river ' * 80} sail storm {'bank ' * 80}",
    "Boats",
    {"tags": ["water", "sport"], "lang": "en", "year": 2008},
)


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def index(tmp_path_factory: pytest.TempPathFactory, encoder: FakeEncoder) -> Iterator[Index]:
    """Twenty short documents and one of several passages."""
    with Index.create(tmp_path_factory.mktemp("index") / "i", encoder) as made:
        made.add([*make_documents(20), LONG])
        yield made
