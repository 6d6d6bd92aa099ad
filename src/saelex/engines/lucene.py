"""What OpenSearch and Elasticsearch share: their REST interface for documents, and weights as Lucene keeps them.

Lucene's FeatureField keeps 9 significant bits of a weight, cut off and not rounded. The weights themselves are beside
them as one packed text, for explanations and `saelex pull`: not every version gives sparse fields back.
"""

from __future__ import annotations

import base64
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

import numpy as np

from saelex.engines.calls import UnavailableError
from saelex.engines.entry import Entry, Found
from saelex.engines.facets import ENTRY, Test
from saelex.engines.files.format import Vector, check_id
from saelex.engines.http import HttpStore
from saelex.errors import InputError, SaelexError
from saelex.index.engine import Limits

SIGNIFICANT = 2**-8
"""How much of a weight is lost at most by keeping 9 significant bits."""

_ID_BYTES = 512
_DEEPEST = 10_000  # index.max_result_window
_MOST_WEIGHT = 64.0  # of a query's feature
_RANGES = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_KEYWORD, _LONG, _KEPT = {"type": "keyword"}, {"type": "long"}, {"type": "object", "enabled": False}
_HIDDEN = {"type": "keyword", "index": False, "doc_values": False}
_OPEN = {"type": "object", "dynamic": True}


class LuceneStore(HttpStore):
    """An index; its documents are the entries. Ties come in any order."""

    port = 9200
    limits = Limits(document_error=SIGNIFICANT, negative_queries=False)
    engine: ClassVar[str]

    def _exists(self) -> bool:
        return self._send("HEAD", f"/{self.url.name}", allowed=[404]).status != 404

    def _make(self) -> None:
        kinds = {
            "id": _KEYWORD, "digest": _HIDDEN, "document": _KEYWORD, "place": _LONG, "start": _LONG, "end": _LONG,
            "title": {"type": "text"}, "text": {"type": "text"}, "metadata": _KEPT, "packed": _HIDDEN,
            "tags": _KEYWORD, "numbers": _OPEN, "texts": _OPEN, "vector": self._field(),
        }  # fmt: skip
        templates = [
            {"numbers": {"path_match": "numbers.*", "mapping": {"type": "double"}}},
            {"texts": {"path_match": "texts.*", "mapping": {"type": "keyword"}}},
        ]
        mappings = {"dynamic": "strict", "dynamic_templates": templates, "properties": kinds}
        self._send("PUT", f"/{self.url.name}", {"settings": self._settings(), "mappings": mappings})

    def _count(self) -> int:
        body = {"query": {"term": {"tags": {"value": ENTRY}}}}
        return int(self._send("POST", f"/{self.url.name}/_count", body).body["count"])

    def _put(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            check_id(entry.id, _ID_BYTES, self.engine)
        self._bulk([line for entry in entries for line in ({"index": {"_id": entry.id}}, _source(entry))])

    def _remove(self, ids: Sequence[str]) -> None:
        self._bulk([{"delete": {"_id": name}} for name in ids])

    def _bulk(self, lines: list[Any]) -> None:
        answer = self._send("POST", f"/{self.url.name}/_bulk?refresh=true", lines).body
        if not answer["errors"]:
            return
        results = [next(iter(item.values())) for item in answer["items"]]
        failed = [one for one in results if one["status"] >= 300 and one["status"] != 404]  # that was gone already
        for one in failed:
            kind = UnavailableError if one["status"] in (429, 503) else SaelexError
            raise kind(f"{self.url}: document {one['_id']!r}: {one.get('error')}")

    def _get(self, ids: Sequence[str], fields: Sequence[str], vectors: bool) -> Iterable[Entry]:
        wanted = ["id", *fields, *(["packed"] if vectors else [])]
        body = {"docs": [{"_id": name, "_source": wanted} for name in ids]}
        found = self._send("POST", f"/{self.url.name}/_mget", body).body["docs"]
        return [_entry(one["_source"]) for one in found if one.get("found")]

    def _page(self, after: Any, fields: Sequence[str]) -> tuple[list[Entry], Any]:
        body = {"size": self.batch, "sort": [{"id": "asc"}], "_source": ["id", *fields], "query": {"match_all": {}}}
        if after is not None:
            body["search_after"] = [after]
        hits = self._send("POST", f"/{self.url.name}/_search", body).body["hits"]["hits"]
        page = [_entry(hit["_source"]) for hit in hits]
        return page, page[-1].id if len(page) == self.batch else None

    def _nearest(self, query: Vector, k: int, tests: Sequence[Test], fields: Sequence[str]) -> Iterable[Found]:
        if k > _DEEPEST:
            raise InputError(f"{self.engine} finds at most {_DEEPEST:,} hits, not {k:,}")
        scale = max(1.0, float(query.weights.max()) / _MOST_WEIGHT)  # a dot product is linear
        weights = Vector(query.columns, query.weights / np.float32(scale)).by_name()
        chosen = {
            "must": [self._query(weights)],
            "filter": [_condition(test) for test in tests if test.operator != "none"],
            "must_not": [_condition(test) for test in tests if test.operator == "none"],
        }
        body = {"size": k, "_source": ["id", *fields], "query": {"bool": chosen}}
        hits = self._send("POST", f"/{self.url.name}/_search", body).body["hits"]["hits"]
        return [Found(_entry(hit["_source"]), hit["_score"] * scale) for hit in hits]

    @abstractmethod
    def _field(self) -> dict[str, Any]:
        """The mapping of the vector."""

    @abstractmethod
    def _query(self, weights: dict[str, float]) -> dict[str, Any]: ...

    def _settings(self) -> dict[str, Any]:
        return {}


def _condition(test: Test) -> dict[str, Any]:
    if test.operator in ("any", "none"):
        return {"terms": {"tags": test.value}}
    return {"range": {f"{test.kind}.{_name(test.field)}": {_RANGES[test.operator]: test.value}}}


def _name(field: str) -> str:
    """A field's name in which no dot or sign means anything."""
    return "/".join(quote(part, safe="") for part in field.split("."))


def _source(entry: Entry) -> dict[str, Any]:
    tags, numbers, texts = entry.facets
    packed = base64.b64encode(entry.vector.columns.tobytes() + entry.vector.weights.tobytes()).decode()
    source = {
        "id": entry.id, **entry.fields(), "tags": tags, "packed": packed,
        "numbers": {_name(field): value for field, value in numbers.items()},
        "texts": {_name(field): value for field, value in texts.items()},
    }  # fmt: skip
    return {**source, "vector": entry.vector.by_name()} if len(entry.vector.columns) else source


def _entry(source: dict[str, Any]) -> Entry:
    raw = base64.b64decode(source.get("packed", ""))
    half = len(raw) // 2
    vector = Vector(np.frombuffer(raw[:half], np.int32), np.frombuffer(raw[half:], np.float32))
    return Entry.of(source["id"], source, vector)
