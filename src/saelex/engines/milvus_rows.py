"""Rows as Milvus has them."""

from __future__ import annotations

import json
from typing import Any

from saelex.engines.entry import FIELDS, Entry
from saelex.engines.files.format import Vector
from saelex.engines.files.milvus import MAX_BYTES, check_row

_NUMBERS, _OBJECTS = ("place", "start", "end"), ("metadata", "facets")


def schema_of(client: Any, types: Any) -> Any:
    """Of a collection; types: pymilvus' `DataType`."""
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", types.VARCHAR, is_primary=True, max_length=MAX_BYTES)
    for name in (*FIELDS, "facets"):
        kind = types.INT64 if name in _NUMBERS else types.JSON if name in _OBJECTS else types.VARCHAR
        schema.add_field(name, kind, **({"max_length": MAX_BYTES} if kind == types.VARCHAR else {}))
    schema.add_field("vector", types.SPARSE_FLOAT_VECTOR)
    return schema


def row_of(entry: Entry) -> dict[str, Any]:
    """Raises InputError for what is longer than a field of Milvus."""
    row = {"id": entry.id, **entry.fields(), "facets": entry.facets._asdict()}
    check_row(row, entry.document)
    return {**row, "vector": dict(zip(entry.vector.columns.tolist(), entry.vector.weights.tolist()))}


def entry_of(row: dict[str, Any]) -> Entry:
    """From what was asked for."""
    weights = row.get("vector") or {}
    return Entry.of(row["id"], row, Vector.of(list(weights), list(weights.values())))


def literal(value: Any) -> str:
    """A value in an expression."""
    return json.dumps(value, ensure_ascii=False)
