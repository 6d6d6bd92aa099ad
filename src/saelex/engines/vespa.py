"""Vespa: `vespa://HOST:8080/SCHEMA`, for an application that has the schema of docs/engines.md.

Its dotProduct takes integers: weights of documents are multiples of 2^-12, those of a query of a 65,535th of the
heaviest. `?operator=wand` skips documents that cannot be among the best; `hits` of a query are 400 at most unless the
application's query profile says more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np

from saelex.engines.entry import FIELDS, Entry, Found
from saelex.engines.facets import ENTRY, Test, only_numbers
from saelex.engines.files.format import Vector
from saelex.engines.http import HttpStore
from saelex.engines.url import EngineUrl
from saelex.errors import InputError
from saelex.index.engine import Limits

_NAMESPACE = "saelex"
_UNIT = 2.0**-12
_LEVELS = 65_535


class VespaStore(HttpStore):
    """Documents of one schema. A password without a user is a bearer token."""

    port, token = 8080, "Bearer"
    options = frozenset({"operator"})
    batch = 100  # documents are sent one by one
    limits = Limits(weight=_UNIT * (2**31 - 1), document_error=_UNIT / 2, query_error=1 / (2 * _LEVELS))

    def __init__(self, url: EngineUrl) -> None:
        super().__init__(url)
        self._operator = url.option("operator", {"dotProduct": "dotProduct", "wand": "wand"}, "dotProduct")

    def _exists(self) -> bool:
        """Whether the schema is there and holds documents: one that is deployed is a collection that is still empty."""
        answer = self._send("GET", self._documents(wantedDocumentCount=1), allowed=[400, 404])
        return answer.status == 200 and bool(answer.body.get("documents"))

    def _make(self) -> None:
        if self._send("GET", self._documents(wantedDocumentCount=1), allowed=[400, 404]).status != 200:
            raise InputError(f"{self.url}: no schema {self.url.name}; docs/engines.md has the one to deploy")

    def _count(self) -> int:
        return int(self._found([Test("", "any", [ENTRY])], 0)["fields"]["totalCount"])

    def _put(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._send("POST", self._document(entry.id), {"fields": _fields(entry)})

    def _remove(self, ids: Sequence[str]) -> None:
        for name in ids:
            self._send("DELETE", self._document(name))

    def _get(self, ids: Sequence[str], fields: Sequence[str], vectors: bool) -> Iterable[Entry]:
        asked = urlencode({"fieldSet": self._field_set(fields, vectors)})
        for name in ids:
            answer = self._send("GET", f"{self._document(name)}?{asked}", allowed=[404])
            if answer.status != 404:
                yield _entry(answer.body["fields"])

    def _page(self, after: Any, fields: Sequence[str]) -> tuple[list[Entry], Any]:
        more = {"continuation": after} if after else {}
        path = self._documents(fieldSet=self._field_set(fields, False), wantedDocumentCount=self.batch, **more)
        answer = self._send("GET", path).body
        return [_entry(one["fields"]) for one in answer["documents"]], answer.get("continuation")

    def _nearest(self, query: Vector, k: int, tests: Sequence[Test], fields: Sequence[str]) -> Iterable[Found]:
        step = float(np.abs(query.weights).max()) / _LEVELS
        integers = np.rint(query.weights.astype(np.float64) / step).astype(np.int64)
        asked = json.dumps({str(column): weight for column, weight in zip(query.columns.tolist(), integers.tolist())})
        hints = f"{{targetHits: {k}}}" if self._operator == "wand" else ""
        root = self._found(tests, k, fields, f"({hints}{self._operator}(vector, {asked}))")
        return [Found(_entry(hit["fields"]), hit["relevance"] * _UNIT * step) for hit in root.get("children", [])]

    def _found(self, tests: Sequence[Test], k: int, fields: Sequence[str] = (), matching: str = "") -> dict[str, Any]:
        only_numbers(tests, "Vespa")
        conditions = [one for one in (matching, *map(_condition, tests)) if one]
        yql = f"select {', '.join(['id', *fields])} from {self.url.name} where {' and '.join(conditions)}"
        body = {"yql": yql, "hits": k, "ranking": {"profile": "saelex"}, "timeout": "20s"}
        root = self._send("POST", "/search/", body).body["root"]
        if root.get("errors"):
            raise InputError(f"{self.url}: {root['errors']}")
        return dict(root)

    def _field_set(self, fields: Sequence[str], vectors: bool) -> str:
        names = ",".join(["id", *(name for name in fields), *(["packed"] if vectors else [])])
        return f"{self.url.name}:{names}"

    def _documents(self, **asked: Any) -> str:
        return f"/document/v1/{_NAMESPACE}/{self.url.name}/docid?{urlencode(asked)}"

    def _document(self, name: str) -> str:
        return f"/document/v1/{_NAMESPACE}/{self.url.name}/docid/{quote(name, safe='')}"


def _fields(entry: Entry) -> dict[str, Any]:
    tags, numbers, _ = entry.facets
    integers = np.rint(entry.vector.weights.astype(np.float64) / _UNIT).astype(np.int64)
    weights = {
        str(column): weight for column, weight in zip(entry.vector.columns.tolist(), integers.tolist()) if weight
    }
    return {
        "id": entry.id, **entry.fields(), "metadata": json.dumps(dict(entry.metadata), ensure_ascii=False),
        "tags": tags, "numbers": numbers, "vector": weights, "packed": json.dumps(entry.vector.by_name()),
    }  # fmt: skip


def _entry(fields: dict[str, Any]) -> Entry:
    held = {name: fields[name] for name in FIELDS if name in fields}
    if "metadata" in held:
        held["metadata"] = json.loads(held["metadata"])
    weights = json.loads(fields.get("packed", "{}"))
    return Entry.of(fields["id"], held, Vector.of([int(column) for column in weights], list(weights.values())))


def _condition(test: Test) -> str:
    if test.operator in ("any", "none"):
        tags = " or ".join(f"tags contains {json.dumps(tag, ensure_ascii=False)}" for tag in test.value)
        return f"{'!' if test.operator == 'none' else ''}({tags})"
    name = json.dumps(test.field, ensure_ascii=False)
    return f"numbers contains sameElement(key contains {name}, value {test.operator} {float(test.value)!r})"
