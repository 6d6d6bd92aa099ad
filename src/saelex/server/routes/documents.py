"""Documents: read, added, deleted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Depends, Response

from saelex.corpus.records import document_of_record
from saelex.index.adding import AddReport
from saelex.server.answers import json_response
from saelex.server.guard import Deadline
from saelex.server.library import Served
from saelex.server.metrics import Metrics
from saelex.server.problems import not_found
from saelex.server.routes.common import InTime, Named, NamedToWrite, Told, json_only, problems
from saelex.server.schemas import AddAnswer, AddRequest, DeleteAnswer, DeleteRequest, DocumentAnswer

router = APIRouter(tags=["documents"])
Result = TypeVar("Result")


@router.get("/v1/{index}/documents/{id:path}", response_model=DocumentAnswer, responses=problems())
async def document(served: Named, id: str) -> Response:
    """One document."""

    def answer() -> dict[str, Any]:
        if id not in served.index:
            raise not_found(f"no document {id!r:.100} in {served.name}")
        found = served.index.document(id)
        url = found.metadata.get("url")
        return {
            "id": found.id,
            "title": found.title,
            "text": found.text,
            "url": url if isinstance(url, str) else None,
            "metadata": dict(found.metadata),
        }

    return json_response(await served.work.run(answer))


@router.post(
    "/v1/{index}/documents", status_code=201, response_model=AddAnswer, responses=problems(403, 409, 415),
    dependencies=[Depends(json_only)],
)  # fmt: skip
async def add(served: NamedToWrite, asked: AddRequest, metrics: Told, deadline: InTime) -> Response:
    """Add documents, or put them in place of others; answers when they are committed."""
    documents = [document_of_record(one.model_dump()) for one in asked.documents]
    write = served.index.update if asked.update else served.index.add

    def commit() -> AddReport:
        return write(documents)

    report = await _written(served, commit, metrics, deadline)
    return json_response({"added": report.added - report.replaced, "updated": report.replaced}, 201)


@router.post(
    "/v1/{index}/documents/delete", response_model=DeleteAnswer, responses=problems(403, 409, 415),
    dependencies=[Depends(json_only)],
)  # fmt: skip
async def delete_all(served: NamedToWrite, asked: DeleteRequest, metrics: Told, deadline: InTime) -> Response:
    """Delete documents in one commit, all or none."""
    ids = list(dict.fromkeys(asked.ids))
    await _written(served, lambda: _delete(served, ids), metrics, deadline)
    return json_response({"deleted": len(ids)})


@router.delete("/v1/{index}/documents/{id:path}", status_code=204, responses=problems(403, 409))
async def delete(served: NamedToWrite, id: str, metrics: Told, deadline: InTime) -> Response:
    """Delete one document; answers when that is committed."""
    await _written(served, lambda: _delete(served, [id]), metrics, deadline)
    return Response(status_code=204)


def _delete(served: Served, ids: list[str]) -> None:
    for name in ids:
        if name not in served.index:
            raise not_found(f"no document {name!r:.100} in {served.name}; nothing was deleted")
    served.index.delete(ids)


async def _written(served: Served, write: Callable[[], Result], metrics: Metrics, deadline: Deadline) -> Result:
    """What a change gives, one after the other. It waits its turn until the deadline; once begun, it is not given up:
    whoever asked must learn whether it is committed."""

    def begun() -> Result:
        deadline.lift()
        start = time.perf_counter()
        try:
            return write()
        finally:
            metrics.stage("write", time.perf_counter() - start)

    return await served.writes.run(begun)
