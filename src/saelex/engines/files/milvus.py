"""Milvus: rows with a SPARSE_FLOAT_VECTOR field, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from saelex.corpus.documents import Document, Query
from saelex.engines.files.format import Format, Summary, Vector
from saelex.errors import InputError

MAX_BYTES = 65_535  # of a VARCHAR
MAX_JSON_BYTES = 65_536
INDEX: dict[str, Any] = {
    "index_type": "SPARSE_INVERTED_INDEX",
    "metric_type": "IP",
    "params": {"inverted_index_algo": "DAAT_MAXSCORE"},
}
SEARCH: dict[str, Any] = {"metric_type": "IP", "params": {"drop_ratio_search": 0.0}}
"""Exact: nothing is dropped."""


@dataclass(frozen=True)
class Milvus:
    """Rows for `MilvusClient.insert` and for the bulk import of JSON; queries as `MilvusClient.search` takes them."""

    name: ClassVar = "milvus"
    limits: ClassVar = (
        f"Milvus: weights stay float32; an id, title or text holds at most {MAX_BYTES} bytes (--no-text drops texts)"
    )

    def settings(self, summary: Summary) -> dict[str, Any]:
        """Fields, index and search parameters of the collection: exact, nothing is dropped."""
        varchar = {"dtype": "VARCHAR", "max_length": MAX_BYTES}
        return {
            "fields": [
                {"name": "id", "is_primary": True, **varchar},
                {"name": "title", **varchar},
                {"name": "text", **varchar},
                {"name": "metadata", "dtype": "JSON"},
                {"name": "vector", "dtype": "SPARSE_FLOAT_VECTOR"},
            ],
            "index": {"field_name": "vector", **INDEX},
            "search_params": SEARCH,
        }

    def document(self, document: Document, vector: Vector, summary: Summary) -> str:
        """A row: `{"id", "title", "text", "metadata", "vector": {"indices", "values"}}`."""
        row = {"id": document.id, "title": document.title, "text": document.text, "metadata": dict(document.metadata)}
        check_row(row, document.id)
        return json.dumps({**row, "vector": vector.by_place()}, ensure_ascii=False)

    def query(self, query: Query, vector: Vector, summary: Summary) -> str:
        """`{"id", "text", "data"}`; data is one entry of the `data` argument of a search."""
        return json.dumps({"id": query.id, "text": query.text, "data": vector.by_place()}, ensure_ascii=False)


def check_row(row: Mapping[str, Any], document: str) -> None:
    """Raises InputError for what is longer than a field of Milvus."""
    for name, value in row.items():
        fixed = isinstance(value, Mapping)
        text = json.dumps(value, ensure_ascii=False) if fixed else str(value)
        if (size := len(text.encode())) > (most := MAX_JSON_BYTES if fixed else MAX_BYTES):
            hint = "; leave texts out with --no-text" if name in ("title", "text") else ""
            raise InputError(
                f"the {name} of document {document[:40]!r} has {size} bytes; Milvus takes at most {most}{hint}"
            )


FORMATS: tuple[type[Format], ...] = (Milvus,)
