"""The server itself: what it serves, whether it lives, what it has done; and the page."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse
from prometheus_client import CONTENT_TYPE_LATEST

from saelex import __version__
from saelex.server.answers import json_response
from saelex.server.problems import not_found
from saelex.server.routes.common import AllIndexes, Named, Told, problems
from saelex.server.schemas import IndexAnswer, IndexesAnswer, StatusAnswer

router = APIRouter(tags=["server"])
PAGE = Path(__file__).parents[1] / "page"


@router.get("/v1/indexes", response_model=IndexesAnswer, responses=problems())
async def indexes(library: AllIndexes) -> Response:
    """What is served."""
    described = await library.work.run(lambda: [served.describe() for served in library.served.values()])
    return json_response({"indexes": described, "version": __version__})


@router.get("/v1/{index}", response_model=IndexAnswer, responses=problems())
async def index(served: Named) -> Response:
    """What one index is and holds."""
    return json_response(await served.work.run(served.describe))


@router.get("/health", response_model=StatusAnswer)
async def health() -> Response:
    """The process lives."""
    return json_response({"status": "alive"})


@router.get("/ready", response_model=StatusAnswer, responses=problems())
async def ready(library: AllIndexes) -> Response:
    """All indexes are open and can be read, and their encoders are loaded."""
    await library.work.run(lambda: [served.index.generation for served in library.served.values()])
    return json_response({"status": "ready"})


@router.get("/metrics", response_class=Response, responses=problems())
async def metrics(told: Told) -> Response:
    """Counts and times, for Prometheus."""
    return Response(told.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/", include_in_schema=False)
async def page() -> Response:
    """The page to look with."""
    start = PAGE / "index.html"
    if not start.is_file():
        raise not_found("this installation has no page; the API is below /v1, and /openapi.json describes it")
    return FileResponse(start, headers={"Cache-Control": "no-cache"})
