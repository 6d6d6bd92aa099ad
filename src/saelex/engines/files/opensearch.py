"""OpenSearch: lines for its bulk API, for fields of type `rank_features` or `sparse_vector`.

rank_features is Lucene's FeatureField: of a weight's float32 it keeps the upper bits, 8 bits of mantissa after the
leading one, cut off and not rounded, so a stored weight is up to 1/256 (0.4 %) too small. Its linear query takes
weights up to 64. sparse_vector (since 3.3) folds token ids modulo 65,536 and stores bytes below a ceiling.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from saelex.corpus.documents import Document, Query
from saelex.engines.files.format import Format, Summary, Vector, check_id
from saelex.errors import InputError

MAX_ID_BYTES = 512
MAX_QUERY_WEIGHT = 64  # Lucene, FeatureField.newLinearQuery
MAX_TOKEN_IDS = 65_536  # opensearch-project/neural-search, pull request 1926


class _Bulk:
    """Bulk lines, to be sent to `/<index>/_bulk`; a query's `body` goes to `/<index>/_search`."""

    def document(self, document: Document, vector: Vector, summary: Summary) -> str:
        """An action line and a source line."""
        check_id(document.id, MAX_ID_BYTES, "OpenSearch")
        source = {
            "title": document.title,
            "text": document.text,
            "metadata": dict(document.metadata),
            "vector": vector.by_name(),
        }
        action = {"index": {"_id": document.id}}
        return f"{json.dumps(action, ensure_ascii=False)}\n{json.dumps(source, ensure_ascii=False)}"

    def query(self, query: Query, vector: Vector, summary: Summary) -> str:
        """`{"id", "text", "body"}`; the body is a neural_sparse query with its tokens given."""
        body = {"query": {"neural_sparse": {"vector": {"query_tokens": vector.by_name()}}}}
        return json.dumps({"id": query.id, "text": query.text, "body": body}, ensure_ascii=False)


@dataclass(frozen=True)
class OpenSearch(_Bulk):
    """Bulk lines and queries for a field of type `rank_features`: exact search."""

    name: ClassVar = "opensearch"
    limits: ClassVar = (
        "OpenSearch rank_features: document weights lose up to 0.4 % (9 significant bits); "
        f"query weights <= {MAX_QUERY_WEIGHT}"
    )

    def settings(self, summary: Summary) -> dict[str, Any]:
        """The body that creates the index."""
        if summary.heaviest_query > MAX_QUERY_WEIGHT:
            raise InputError(
                f"a query weight of {summary.heaviest_query:g}: "
                f"OpenSearch rank_features takes at most {MAX_QUERY_WEIGHT}"
            )
        return _index({"type": "rank_features"}, {})


@dataclass(frozen=True)
class OpenSearchSparseVector(_Bulk):
    """Bulk lines and queries for a field of type `sparse_vector`: approximate from a million documents a segment."""

    name: ClassVar = "opensearch-sparse-vector"
    limits: ClassVar = (
        f"OpenSearch sparse_vector: at most {MAX_TOKEN_IDS} columns; weights become bytes, "
        "off by up to 1/510 of the heaviest; approximate from 1,000,000 documents a segment"
    )

    def settings(self, summary: Summary) -> dict[str, Any]:
        """The body that creates the index."""
        if summary.n_columns > MAX_TOKEN_IDS:
            raise InputError(
                f"{summary.n_columns} columns: OpenSearch sparse_vector folds ids from {MAX_TOKEN_IDS} on, "
                "so different latents would collide; use --format opensearch (rank_features)"
            )
        ceilings = {
            "quantization_ceiling_ingest": summary.heaviest,
            "quantization_ceiling_search": summary.heaviest_query or summary.heaviest,
        }
        method = {"name": "seismic", "parameters": ceilings}
        return _index({"type": "sparse_vector", "method": method}, {"index": {"sparse": True}})


def _index(vector: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    properties = {
        "title": {"type": "text"},
        "text": {"type": "text"},
        "metadata": {"type": "object"},
        "vector": vector,
    }
    return {"settings": settings, "mappings": {"properties": properties}}


FORMATS: tuple[type[Format], ...] = (OpenSearch, OpenSearchSparseVector)
