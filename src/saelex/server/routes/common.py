"""What routes share: the index that a path names, and the answers that every route may give."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request

from saelex.server.guard import Deadline
from saelex.server.library import Library, Served
from saelex.server.metrics import Metrics
from saelex.server.problems import MEDIA_TYPE, Problem, not_found
from saelex.server.schemas import ProblemAnswer

_PROBLEM: dict[str, Any] = {
    "content": {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemAnswer.__name__}"}}}
}
_MEANINGS = {
    400: "What was asked cannot be", 401: "Wrong or no API key", 403: "The server is not writable",
    404: "No such index, document or concept", 409: "Another process is writing to the index",
    413: "Too large", 415: "Not application/json", 429: "Too many requests wait already",
    501: "Not a thing that this server does", 503: "Not in time, or not now",
}  # fmt: skip


def problems(*more: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route may answer with, for the OpenAPI document; more: beside the usual ones."""
    statuses = sorted({400, 401, 404, 413, 429, 503, *more})
    return {status: {"description": _MEANINGS[status], **_PROBLEM} for status in statuses}


async def _library(request: Request) -> Library:
    library = request.app.state.library
    assert isinstance(library, Library)
    return library


async def _metrics(request: Request) -> Metrics:
    metrics = request.app.state.metrics
    assert isinstance(metrics, Metrics)
    return metrics


async def _served(library: AllIndexes, index: str) -> Served:
    if index not in library.served:
        raise not_found(f"no index {index!r:.100} here; GET /v1/indexes lists them")
    return library.served[index]


async def _writable(served: Named) -> Served:
    if not served.settings.writable:
        raise Problem(403, "this server does not change its indexes; it is started with --writable to do so")
    return served


async def _deadline(request: Request) -> Deadline:
    return Deadline.of(request.scope)


async def json_only(request: Request) -> None:
    """Raises Problem (415) for a body that is of another kind: no form of a page elsewhere is taken for a request."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "the body is JSON; send it with Content-Type: application/json")


AllIndexes = Annotated[Library, Depends(_library)]
Told = Annotated[Metrics, Depends(_metrics)]
Named = Annotated[Served, Depends(_served)]
NamedToWrite = Annotated[Served, Depends(_writable)]
InTime = Annotated[Deadline, Depends(_deadline)]
