"""Elasticsearch 8.15 or later: `elasticsearch+https://USER@HOST:9200/INDEX`, a field of type sparse_vector.

Newer versions leave "unimportant" tokens out of a query unless they are told not to: every query says `prune: false`.
"""

from __future__ import annotations

from typing import Any

from saelex.engines.lucene import LuceneStore


class ElasticsearchStore(LuceneStore):
    """Exact but for Lucene's 9 significant bits. A password without a user is an API key."""

    engine, token = "Elasticsearch", "ApiKey"

    def _field(self) -> dict[str, Any]:
        return {"type": "sparse_vector"}

    def _query(self, weights: dict[str, float]) -> dict[str, Any]:
        return {"sparse_vector": {"field": "vector", "query_vector": weights, "prune": False}}
