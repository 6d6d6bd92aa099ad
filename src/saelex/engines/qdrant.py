"""Qdrant through its own client: a server, or the client's local mode (`qdrant+local:///FOLDER/NAME`), for tests alone.

The sparse vector is named "latents"; idf stays off, as words carry theirs already.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from saelex.engines.calls import UnavailableError
from saelex.engines.entry import Entry, Found
from saelex.engines.facets import ENTRY, Test
from saelex.engines.files.format import Vector
from saelex.engines.files.qdrant import DATATYPES, VECTOR_NAME, point_id
from saelex.engines.qdrant_points import conditions, entry_of, payload_of
from saelex.engines.store import Store
from saelex.engines.url import EngineUrl
from saelex.errors import InputError, SaelexError
from saelex.files import expanded
from saelex.index.engine import Limits
from saelex.installation import needs_extra

_TIMEOUT = 60  # seconds


class QdrantStore(Store):
    """Points get the UUID of their id (`point_id`), which is kept in the payload. Ties come in any order."""

    options = frozenset({"datatype"})

    def __init__(self, url: EngineUrl) -> None:
        super().__init__(url)
        self._datatype, error = url.option("datatype", DATATYPES, "float32")
        self.limits = Limits(document_error=error)
        self._models = _package().models
        self._client: Any = None

    def _exists(self) -> bool:
        with self._talking() as client:
            return bool(client.collection_exists(self.url.name))

    def _make(self) -> None:
        models = self._models
        index = models.SparseIndexParams(datatype=models.Datatype(self._datatype))
        sparse = {VECTOR_NAME: models.SparseVectorParams(index=index)}
        with self._talking() as client:
            client.create_collection(self.url.name, vectors_config={}, sparse_vectors_config=sparse)
            if self.url.scheme != "qdrant+local":  # which has none
                client.create_payload_index(self.url.name, "tags", models.PayloadSchemaType.KEYWORD)

    def _count(self) -> int:
        with self._talking() as client:
            chosen = self._filter([Test("", "any", [ENTRY])])
            return int(client.count(self.url.name, count_filter=chosen, exact=True).count)

    def _put(self, entries: Sequence[Entry]) -> None:
        models = self._models
        points = [
            models.PointStruct(
                id=point_id(entry.id),
                vector={VECTOR_NAME: models.SparseVector(**entry.vector.by_place())},
                payload=payload_of(entry),
            )
            for entry in entries
        ]
        with self._talking() as client:
            client.upsert(self.url.name, points, wait=True)

    def _get(self, ids: Sequence[str], fields: Sequence[str], vectors: bool) -> Iterable[Entry]:
        asked = {"with_payload": ["id", *fields], "with_vectors": vectors}
        with self._talking() as client:
            return [entry_of(point) for point in client.retrieve(self.url.name, list(map(point_id, ids)), **asked)]

    def _page(self, after: Any, fields: Sequence[str]) -> tuple[list[Entry], Any]:
        with self._talking() as client:
            points, following = client.scroll(
                self.url.name, limit=self.batch, offset=after, with_payload=["id", *fields]
            )
        return [entry_of(point) for point in points], following

    def _remove(self, ids: Sequence[str]) -> None:
        with self._talking() as client:
            client.delete(self.url.name, self._models.PointIdsList(points=list(map(point_id, ids))), wait=True)

    def _nearest(self, query: Vector, k: int, tests: Sequence[Test], fields: Sequence[str]) -> Iterable[Found]:
        asked = {"using": VECTOR_NAME, "limit": k, "query_filter": self._filter(tests)}
        vector = self._models.SparseVector(**query.by_place())
        with self._talking() as client:
            points = client.query_points(self.url.name, query=vector, with_payload=["id", *fields], **asked).points
        return [Found(entry_of(point), point.score) for point in points]

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _filter(self, tests: Sequence[Test]) -> Any:
        models = self._models
        must, must_not = conditions(tests, models.FieldCondition, models.MatchAny, models.Range)
        return models.Filter(must=must, must_not=must_not)

    @contextmanager
    def _talking(self) -> Iterator[Any]:
        from httpx import TransportError
        from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

        try:
            if self._client is None:
                self._client = self._connected()
            yield self._client
        except UnexpectedResponse as error:
            kind = UnavailableError if error.status_code in (408, 429, 500, 502, 503, 504) else SaelexError
            raise kind(f"Qdrant: {error.status_code} {error.content[:500].decode(errors='replace')}") from error
        except (ResponseHandlingException, TransportError, ConnectionError) as error:
            raise UnavailableError(str(error) or type(error).__name__) from error

    def _connected(self) -> Any:
        make = partial(_package().QdrantClient, timeout=_TIMEOUT)
        if self.url.scheme != "qdrant+local":
            logging.getLogger("httpx").setLevel(logging.WARNING)
            base = self.url.base if self.url.port else f"{self.url.base}:6333"
            return make(base, api_key=self.url.password or None, check_compatibility=False)
        try:
            return make(path=str(expanded(Path(self.url.folder))))
        except (OSError, RuntimeError) as error:  # the folder is another process', or cannot be made
            raise InputError(f"{self.url}: {error}") from error


def _package() -> Any:
    try:
        import qdrant_client
    except ImportError as error:
        raise needs_extra("Qdrant", "qdrant-client", "qdrant") from error
    return qdrant_client
