"""Qdrant: points with one named sparse vector, one JSON object a line."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any, ClassVar

from saelex.corpus.documents import Document, Query
from saelex.engines.files.format import Format, Summary, Vector

VECTOR_NAME = "latents"
DATATYPES = {"float32": ("float32", 0.0), "float16": ("float16", 2**-11), "uint8": ("uint8", 1 / 255)}
"""What Qdrant can keep a weight as -> its name for it, and by how much of the heaviest it is off then."""
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://saelex/documents")


def point_id(document_id: str) -> str:
    """The UUID (version 5) that stands for a document's id: Qdrant's points take nothing but integers and UUIDs."""
    return str(uuid.uuid5(_NAMESPACE, document_id))


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
