"""Qdrant: its embedded engine, live; and its points with one named sparse vector, one JSON object a line."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from saelex.corpus.documents import Document, Query
from saelex.engines.format import Format, Summary, Vector
from saelex.errors import InputError
from saelex.files import expanded, write_text
from saelex.index.engine import (
    Hits,
    Limits,
    check_columns,
    check_documents,
    check_known,
    check_new,
    check_queries,
    closed,
    distinct,
)
from saelex.installation import needs_extra
from saelex.reading.json_object import read_json
from saelex.reading.regular import one_error
from saelex.vectors import SparseRows

VECTOR_NAME = "latents"
_SETTINGS = "saelex.json"
_BATCH = 1000  # points that are Python objects at a time
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://saelex/documents")


def point_id(document_id: str) -> str:
    """The UUID (version 5) that stands for a document's id: Qdrant's points take nothing but integers and UUIDs."""
    return str(uuid.uuid5(_NAMESPACE, document_id))


class QdrantEngine:
    """Qdrant Edge: one shard in this process, on disk, float32 weights. Open it with `create` or `open`.

    Points get the UUID of their id (`point_id`), which is kept in the payload. Ties come in any order.
    """

    limits = Limits()

    def __init__(self, folder: Path, n_latents: int, shard: Any) -> None:
        self.n_latents = n_latents
        self._folder = folder
        self._shard: Any = shard
        self._ids = dict(self._stored_ids())  # by point

    @classmethod
    def create(cls, folder: str | Path, n_latents: int, *, threads: int | None = None) -> QdrantEngine:
        """A new shard in a new folder. threads: those that one search may use; None is Qdrant's choice.

        Raises InputError where something is there already.
        """
        check_columns(n_latents, cls.limits)
        edge, target = _edge(), expanded(folder)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise InputError(f"{target}: exists already; choose another name, or remove it first")
        sparse = {VECTOR_NAME: edge.EdgeSparseVectorParams()}
        config = edge.EdgeConfig(vectors={}, sparse_vectors=sparse, max_search_threads=threads)
        target.mkdir(parents=True, exist_ok=True)
        shard = edge.EdgeShard.create(str(target), config)
        write_text(target / _SETTINGS, [json.dumps({"n_latents": n_latents}) + "\n"])
        return cls(target, n_latents, shard)

    @classmethod
    def open(cls, folder: str | Path) -> QdrantEngine:
        """Raises InputError for a folder that `create` did not make."""
        edge, target = _edge(), expanded(folder)
        try:
            n_latents = read_json(target / _SETTINGS).whole("n_latents", least=1)
        except InputError as error:
            raise InputError(f"{target}: not a shard that QdrantEngine.create made: {error}") from error
        with one_error(target, "a shard that QdrantEngine.create made", "make it again"):
            shard = edge.EdgeShard.load(str(target))
        return cls(target, n_latents, shard)

    def __repr__(self) -> str:
        return f"QdrantEngine({str(self._folder)!r})"

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: Sequence[str], vectors: SparseRows) -> None:
        """See `Engine`."""
        check_documents(self, ids, vectors)
        shard, edge = self._open(), _edge()
        points = {uuid.UUID(point_id(name)): name for name in ids}
        check_new(ids, {self._ids[point] for point in points.keys() & self._ids.keys()})
        rows = (
            edge.Point(str(point), {VECTOR_NAME: edge.SparseVector(*map(np.ndarray.tolist, row))}, {"id": name})
            for (point, name), row in zip(points.items(), vectors)
        )
        while batch := list(islice(rows, _BATCH)):
            shard.update(edge.UpdateOperation.upsert_points(batch))
        shard.flush()
        self._ids |= points

    def delete(self, ids: Iterable[str]) -> None:
        """See `Engine`."""
        shard = self._open()
        points = {name: uuid.UUID(point_id(name)) for name in distinct(ids)}
        check_known(points, {name for name, point in points.items() if point in self._ids})
        shard.update(_edge().UpdateOperation.delete_points([str(point) for point in points.values()]))
        shard.flush()
        for point in points.values():
            del self._ids[point]

    def merge(self) -> None:
        """Run Qdrant's optimisers to the end: few large segments, and postings for all of them."""
        self._open().optimize()
        self._open().flush()

    def search(self, queries: SparseRows, k: int = 10) -> Hits:
        """See `Engine`."""
        check_queries(self, queries, k)
        shard, edge, hits = self._open(), _edge(), Hits([], [])
        for latents, weights in queries:
            nearest = edge.Query.Nearest(edge.SparseVector(latents.tolist(), weights.tolist()), using=VECTOR_NAME)
            points = shard.query(edge.QueryRequest(limit=min(k, max(1, len(self))), query=nearest))
            above = [(self._ids[point.id], point.score) for point in points if point.score > 0]
            hits.ids.append([name for name, _ in above])
            hits.scores.append(np.array([score for _, score in above], np.float64))
        return hits

    def close(self) -> None:
        """See `Engine`."""
        if self._shard is not None:
            self._shard.close()
        self._shard, self._ids = None, {}

    def _open(self) -> Any:
        if self._shard is None:
            raise closed(self)
        return self._shard

    def _stored_ids(self) -> Iterable[tuple[uuid.UUID, str]]:
        edge, offset = _edge(), None
        while True:
            records, offset = self._shard.scroll(edge.ScrollRequest(offset=offset, limit=_BATCH, with_payload=["id"]))
            yield from ((record.id, record.payload["id"]) for record in records)
            if offset is None:
                return


def _edge() -> Any:
    try:
        import qdrant_edge
    except ImportError as error:
        raise needs_extra("Qdrant's embedded engine", "qdrant-edge-py", "qdrant") from error
    return qdrant_edge


@dataclass(frozen=True)
class Qdrant:
    """Lines for `PUT /collections/<name>/points` (each one element of `points`); queries for `.../points/query`."""

    name: ClassVar = "qdrant"
    limits: ClassVar = (
        "Qdrant: weights stay float32; points get a UUID made from the document's id, which is kept in the payload"
    )

    def settings(self, summary: Summary) -> dict[str, Any]:
        """The body that creates the collection. Qdrant has no limit on columns or non-zeros."""
        return {"vectors": {}, "sparse_vectors": {VECTOR_NAME: {"index": {"datatype": "float32"}}}}

    def document(self, document: Document, vector: Vector, summary: Summary) -> str:
        """A point: `{"id": UUID, "vector": {"latents": {"indices", "values"}}, "payload"}`."""
        payload = {
            "id": document.id,
            "title": document.title,
            "text": document.text,
            "metadata": dict(document.metadata),
        }
        point = {"id": point_id(document.id), "vector": {VECTOR_NAME: vector.by_place()}, "payload": payload}
        return json.dumps(point, ensure_ascii=False)

    def query(self, query: Query, vector: Vector, summary: Summary) -> str:
        """`{"id", "text", "body"}`; the body gives the 10 best points with their document ids."""
        body = {"query": vector.by_place(), "using": VECTOR_NAME, "limit": 10, "with_payload": ["id"]}
        return json.dumps({"id": query.id, "text": query.text, "body": body}, ensure_ascii=False)


FORMATS: tuple[type[Format], ...] = (Qdrant,)
