"""Requests made up by the OpenAPI document: such as it allows, and such as it does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from tests.index.fakes import FakeEncoder
from tests.server.conftest import DOCUMENTS

from saelex.index.index import Index
from saelex.server.app import create_app
from saelex.server.settings import Settings

_OPERATIONS = 16


@contextmanager
def schema(folder: Path) -> Iterator[Any]:
    """The document of a server that is writable, with an index called "notes"."""
    with Index.create(folder / "notes", FakeEncoder()) as index:
        index.add(DOCUMENTS)
        index.label()
        app = create_app({"notes": index}, Settings(writable=True))
        yield schemathesis.openapi.from_asgi("/openapi.json", app)


def statuses(document: Any, mode: GenerationMode, examples: int) -> Counter[int]:
    """The answers to so many requests for every operation; what is about an index is about the one there is."""
    found: Counter[int] = Counter()
    for result in document.get_all_operations():
        operation = result.ok()

        @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            if "index" in case.path_parameters:
                case.path_parameters["index"] = "notes"
            answer = case.call()
            if answer.status_code >= 500 and case.path != "/v1/embeddings":  # which is refused with 501
                raise AssertionError(f"{answer.status_code}: {case.as_curl_command()}")
            found[answer.status_code] += 1

        with suppress(Unsatisfiable):  # where nothing in a request can be wrong
            ask()
    return found


def failures(folder: Path, cases: int) -> int:
    """Answers of 5xx to about so many requests, half of them such as the document allows; 0 or the first one."""
    with schema(folder) as document:
        for mode in ("positive", "negative"):
            try:
                statuses(document, GenerationMode(mode), max(1, cases // (2 * _OPERATIONS)))
            except AssertionError:
                return 1
    return 0
