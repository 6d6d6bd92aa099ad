"""Milvus 2.5 or later: `milvus://HOST:19530/NAME`, or Milvus Lite inside this machine: `milvus+lite:///FOLDER/FILE.db/NAME`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from saelex.engines.calls import UnavailableError
from saelex.engines.entry import Entry, Found
from saelex.engines.facets import ENTRY, Test
from saelex.engines.files.format import Vector
from saelex.engines.files.milvus import INDEX, SEARCH
from saelex.engines.milvus_rows import entry_of, literal, row_of, schema_of
from saelex.engines.store import Store
from saelex.engines.url import EngineUrl
from saelex.errors import InputError, SaelexError
from saelex.files import expanded
from saelex.index.engine import Limits
from saelex.installation import needs_extra

_TIMEOUT = 60.0  # seconds of one call
_DEEPEST = 16_384  # hits of one search, ids of one query
_LOST = ("UNAVAILABLE", "Fail connecting", "Connection", "connection", "channel", "Retry timeout", "Retry run out")


class MilvusStore(Store):
    """A collection with strong consistency: what was pushed is found at once. Ties come in any order."""

    def __init__(self, url: EngineUrl) -> None:
        super().__init__(url)
        self.limits = Limits(2**32 - 2, negative_queries=False)
        self._lite = url.scheme == "milvus+lite"
        self._package = _package()
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs what it raises
        self._client: Any = None

    def _exists(self) -> bool:
        with self._talking() as client:
            return bool(client.has_collection(self.url.name, timeout=_TIMEOUT))

    def _make(self) -> None:
        with self._talking() as client:
            schema = schema_of(client, self._package.DataType)
            index = client.prepare_index_params()
            index.add_index("vector", **INDEX)
            client.create_collection(
                self.url.name, schema=schema, index_params=index, consistency_level="Strong", timeout=_TIMEOUT
            )

    def _count(self) -> int:
        with self._talking() as client:
            chosen = self._filter([Test("", "any", [ENTRY])])
            rows = client.query(self.url.name, filter=chosen, output_fields=["count(*)"], timeout=_TIMEOUT)
        return int(rows[0]["count(*)"])

    def _put(self, entries: Sequence[Entry]) -> None:
        rows = [row_of(entry) for entry in entries]
        with self._talking() as client:
            client.upsert(self.url.name, rows, timeout=_TIMEOUT)

    def _get(self, ids: Sequence[str], fields: Sequence[str], vectors: bool) -> Iterable[Entry]:
        return self._entries(f"id in {literal(list(ids))}", [*fields, *(["vector"] if vectors else [])])

    def _page(self, after: Any, fields: Sequence[str]) -> tuple[list[Entry], Any]:
        page = self._entries(f"id > {literal(after or '')}", fields, limit=self.batch)  # in the order of ids
        return page, max(entry.id for entry in page) if len(page) == self.batch else None

    def _remove(self, ids: Sequence[str]) -> None:
        with self._talking() as client:
            client.delete(self.url.name, ids=list(ids), timeout=_TIMEOUT)

    def _nearest(self, query: Vector, k: int, tests: Sequence[Test], fields: Sequence[str]) -> Iterable[Found]:
        if k > _DEEPEST:
            raise InputError(f"Milvus finds at most {_DEEPEST:,} hits, not {k:,}")
        vector = dict(zip(query.columns.tolist(), query.weights.tolist()))
        with self._talking() as client:
            hits = client.search(
                self.url.name, data=[vector], anns_field="vector", limit=k, filter=self._filter(tests),
                search_params=SEARCH, output_fields=list(fields), timeout=_TIMEOUT,
            )[0]  # fmt: skip
        return [Found(Entry.of(hit["id"], hit.get("entity") or {}), hit["distance"]) for hit in hits]

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
            if self._lite:
                from milvus_lite.server_manager import server_manager_instance

                server_manager_instance.release_server(str(expanded(self.url.folder)))

    def _filter(self, tests: Sequence[Test]) -> str:
        parts = []
        for test in tests:
            any_of = f'json_contains_any(facets["tags"], {literal(test.value)})'
            if test.operator == "any":
                parts.append(any_of)
            elif test.operator == "none":
                parts.append(self._unlike(any_of) if self._lite else f"not {any_of}")
            else:
                parts.append(f'facets["{test.kind}"][{literal(test.field)}] {test.operator} {literal(test.value)}')
        return " and ".join(parts)

    def _unlike(self, condition: str) -> str:
        """Milvus Lite knows no "not": the ids that are not wanted are asked for."""
        unwanted = [entry.id for entry in self._entries(condition, [], limit=_DEEPEST)]
        if len(unwanted) == _DEEPEST:
            raise InputError(f"where: Milvus Lite leaves out at most {_DEEPEST:,} documents by !=; use a Milvus server")
        return f"id not in {literal(unwanted)}"

    def _entries(self, condition: str, fields: Sequence[str], **options: Any) -> list[Entry]:
        with self._talking() as client:
            rows = client.query(
                self.url.name, filter=condition, output_fields=["id", *fields], timeout=_TIMEOUT, **options
            )
        return [entry_of(row) for row in rows]

    @contextmanager
    def _talking(self) -> Iterator[Any]:
        try:
            if self._client is None:
                self._client = self._connected()
                if self._client.has_collection(self.url.name, timeout=_TIMEOUT):
                    self._client.load_collection(self.url.name, timeout=_TIMEOUT)
            yield self._client
        except (self._package.MilvusException, ValueError) as error:
            text = str(error)
            if any(word in text for word in _LOST):
                self._client = None
                raise UnavailableError(text) from error
            raise SaelexError(f"{self.url}: {text}") from error

    def _connected(self) -> Any:
        url = self.url
        if self._lite:
            return self._package.MilvusClient(str(expanded(url.folder)), timeout=_TIMEOUT)
        base = url.base if url.port else f"{url.base}:19530"
        token = f"{url.user}:{url.password}" if url.user else url.password
        return self._package.MilvusClient(base, token=token, db_name=url.folder.strip("/"), timeout=_TIMEOUT)


def _package() -> Any:
    try:
        import pymilvus
    except ImportError as error:
        raise needs_extra("Milvus", "pymilvus", "milvus") from error
    return pymilvus
