"""Search and its reasons."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, Response

from saelex.index.hits import Hit
from saelex.index.request import check_query, check_search
from saelex.server.answers import hit_json, hits_json, json_response, milliseconds
from saelex.server.encoding import Encoded
from saelex.server.problems import not_found
from saelex.server.routes.common import InTime, Named, Told, json_only, problems
from saelex.server.schemas import (
    BatchAnswer,
    BatchRequest,
    ExplainRequest,
    HitAnswer,
    SearchAnswer,
    SearchRequest,
    Shown,
)
from saelex.server.searching import Wanted
from saelex.vectors import SparseRows

router = APIRouter(tags=["search"], dependencies=[Depends(json_only)])


@router.post("/v1/{index}/search", response_model=SearchAnswer, responses=problems(415))
async def search(served: Named, asked: SearchRequest, metrics: Told, deadline: InTime) -> Response:
    """The best documents for a query, best first, each with its best passage; with `explain` why."""
    check_search(asked.k, asked.mode, asked.language)  # before anything is encoded
    text = asked.query if asked.query is not None else asked.text or ""
    if asked.vector is None:
        check_query(text)
        encoded = await served.encoding.encode([text], "query")
    else:
        row = _row(asked.vector.indices, asked.vector.values, served.index.n_latents)
        encoded = Encoded([row], 0.0, 0.0)
    wanted = Wanted(encoded.rows[0], text, asked.k, asked.search_options())
    [found] = await served.searches.submit([wanted])
    metrics.stage("search", found.worked)
    start = time.perf_counter()
    banned: list[str] = asked.ban
    if (asked.explains or asked.ban) and found.value:
        hits, banned = await served.work.run(partial(_explained, found.value, asked, deadline.until))
    else:
        hits = _plain(found.value)
    explained = time.perf_counter() - start
    if asked.explains:
        metrics.stage("explain", explained)
    took = {
        "queue": milliseconds(encoded.queued + found.queued),
        "encode": milliseconds(encoded.encoded),
        "search": milliseconds(found.worked),
        "explain": milliseconds(explained),
    }
    return json_response({"query": text, "hits": hits, "banned": banned, "took_ms": took})


@router.post("/v1/{index}/search_batch", response_model=BatchAnswer, responses=problems(415))
async def search_batch(served: Named, asked: BatchRequest, metrics: Told, deadline: InTime) -> Response:
    """The hits of many queries with the same options."""
    check_search(asked.k, asked.mode, asked.language)
    for i, query in enumerate(asked.queries):
        check_query(query, i)
    encoded = await served.encoding.encode(asked.queries, "query")

    def answer() -> list[dict[str, Any]]:
        rows = SparseRows.concatenate(encoded.rows)
        found = served.index.search_vectors(rows, asked.k, texts=asked.queries, **asked.search_options())
        options: dict[str, Any] = {"explain": asked.explain, "highlight": asked.highlight, "until": deadline.until}
        return [{"query": query, "hits": hits_json(hits, **options)} for query, hits in zip(asked.queries, found)]

    start = time.perf_counter()
    results = await served.work.run(answer)
    metrics.stage("search", time.perf_counter() - start)
    return json_response({"results": results})


@router.post("/v1/{index}/explain", response_model=HitAnswer, responses=problems(415))
async def explain(served: Named, asked: ExplainRequest, metrics: Told) -> Response:
    """Why one document has its score for a query, whatever its rank."""
    check_search(1, asked.mode, asked.language)
    check_query(asked.query)
    encoded = await served.encoding.encode([asked.query], "query")

    def answer() -> dict[str, Any]:
        if asked.id not in served.index:
            raise not_found(f"no document {asked.id!r:.100} in {served.name}")
        hit = served.index.find(asked.query, asked.id, vector=encoded.rows[0], **asked.search_options())
        return hit_json(hit, explain=True, highlight=asked.highlight)

    start = time.perf_counter()
    hit = await served.work.run(answer)
    metrics.stage("explain", time.perf_counter() - start)
    return json_response(hit)


def _explained(hits: Sequence[Hit], asked: Shown, until: float) -> tuple[list[dict[str, Any]], list[str]]:
    """Hits with what was asked of them, and the labels that the query was told to leave out."""
    values = hits_json(hits, explain=asked.explain, highlight=asked.highlight, until=until)
    return values, hits[0].explain().banned if asked.ban else []


def _plain(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    return [hit_json(hit, explain=False, highlight=None) for hit in hits]


def _row(indices: Sequence[int], values: Sequence[float], n_latents: int) -> SparseRows:
    """A vector over the latents, or with as many columns of words after them as it needs."""
    n_columns = max([n_latents, *(index + 1 for index in indices)])
    return SparseRows.from_dicts([dict(zip(indices, values))], n_columns)
