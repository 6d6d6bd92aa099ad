"""Qdrant: points with one named sparse vector, one JSON object a line."""

from __future__ import annotations

import json
import uuid
from typing import Any

from saelex.corpus.documents import Document, Query
from saelex.engines.format import Summary, Vector

VECTOR_NAME = "latents"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://saelex/documents")


def point_id(document_id: str) -> str:
    """The UUID (version 5) that stands for a document's id: Qdrant's points take nothing but integers and UUIDs."""
    return str(uuid.uuid5(_NAMESPACE, document_id))


class Qdrant:
    """Lines for `PUT /collections/<name>/points` (each one element of `points`); queries for `.../points/query`."""

    name = "qdrant"
    limits = "Qdrant: weights stay float32; points get a UUID made from the document's id, which is kept in the payload"

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
        point = {"id": point_id(document.id), "vector": {VECTOR_NAME: _sparse(vector)}, "payload": payload}
        return json.dumps(point, ensure_ascii=False)

    def query(self, query: Query, vector: Vector, summary: Summary) -> str:
        """`{"id", "text", "body"}`; the body gives the 10 best points with their document ids."""
        body = {"query": _sparse(vector), "using": VECTOR_NAME, "limit": 10, "with_payload": ["id"]}
        return json.dumps({"id": query.id, "text": query.text, "body": body}, ensure_ascii=False)


def _sparse(vector: Vector) -> dict[str, list[Any]]:
    return {"indices": vector.columns.tolist(), "values": vector.numbers()}
