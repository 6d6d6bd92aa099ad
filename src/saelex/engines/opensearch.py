"""OpenSearch 2.11 or later with its neural-search plugin: `opensearch+https://USER@HOST:9200/INDEX`.

A field of type rank_features is searched exactly. `?method=seismic` takes sparse_vector (3.3 or later), approximate
from a million documents a segment: it folds ids of columns modulo 65,536, so more columns are refused, and keeps bytes
of weights up to `ceiling`.
"""

from __future__ import annotations

from typing import Any

from saelex.engines.files.opensearch import MAX_TOKEN_IDS
from saelex.engines.lucene import LuceneStore
from saelex.engines.url import EngineUrl
from saelex.index.engine import Limits

_CEILINGS = {str(n): float(n) for n in range(1, 1025)}


class OpenSearchStore(LuceneStore):
    """Exact but for Lucene's 9 significant bits, or as SEISMIC is."""

    engine, token = "OpenSearch", "Bearer"
    options = frozenset({"method", "ceiling"})

    def __init__(self, url: EngineUrl) -> None:
        super().__init__(url)
        self._seismic = url.option("method", {"exact": False, "seismic": True}, "exact")
        self._ceiling = url.option("ceiling", _CEILINGS, "3")
        if self._seismic:
            self.limits = Limits(
                MAX_TOKEN_IDS, weight=self._ceiling, document_error=1 / 255, query_error=1 / 255, finds_all=False,
                negative_queries=False,
            )  # fmt: skip

    def _settings(self) -> dict[str, Any]:
        return {"index": {"sparse": True}} if self._seismic else {}

    def _field(self) -> dict[str, Any]:
        if not self._seismic:
            return {"type": "rank_features"}
        ceilings = {"quantization_ceiling_ingest": self._ceiling, "quantization_ceiling_search": 64.0}
        return {"type": "sparse_vector", "method": {"name": "seismic", "parameters": ceilings}}

    def _query(self, weights: dict[str, float]) -> dict[str, Any]:
        return {"neural_sparse": {"vector": {"query_tokens": weights}}}
