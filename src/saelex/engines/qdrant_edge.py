"""Qdrant Edge, Qdrant's own engine inside this process: `qdrant+edge:///FOLDER/NAME`, one shard in that folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from saelex.engines.entry import Entry, Found
from saelex.engines.facets import ENTRY, Test
from saelex.engines.files.format import Vector
from saelex.engines.files.qdrant import DATATYPES, VECTOR_NAME, point_id
from saelex.engines.qdrant_points import conditions, entry_of, payload_of
from saelex.engines.store import Store
from saelex.engines.url import EngineUrl
from saelex.errors import InputError
from saelex.files import expanded, writing
from saelex.index.engine import Limits
from saelex.installation import needs_extra
from saelex.reading.regular import one_error


class QdrantEdgeStore(Store):
    """On disk. Points get the UUID of their id (`point_id`), which is kept in the payload. Ties come in any order."""

    options = frozenset({"datatype", "threads"})
    batch = 1000

    def __init__(self, url: EngineUrl) -> None:
        super().__init__(url)
        self._datatype, error = url.option("datatype", DATATYPES, "float32")
        self._threads = url.option("threads", {"": None, **{str(n): n for n in range(1, 257)}}, "")
        self.limits = Limits(document_error=error)
        self._edge: Any = _package()
        self._folder = expanded(Path(url.folder, url.name))
        self._loaded: Any = None

    def merge(self) -> None:
        """Run Qdrant's optimisers to the end: few large segments, and postings for all of them."""
        with self._shard() as shard:
            shard.optimize()
            shard.flush()

    def _exists(self) -> bool:
        return self._folder.is_dir() and any(self._folder.iterdir())

    def _make(self) -> None:
        edge = self._edge
        datatype = getattr(edge.VectorStorageDatatype, self._datatype.capitalize())
        sparse = {VECTOR_NAME: edge.EdgeSparseVectorParams(datatype=datatype)}
        config = edge.EdgeConfig(vectors={}, sparse_vectors=sparse, max_search_threads=self._threads)
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._loaded = edge.EdgeShard.create(str(self._folder), config)
        self._loaded.update(edge.UpdateOperation.create_field_index("tags", edge.PayloadSchemaType.Keyword))

    def _count(self) -> int:
        with self._shard() as shard:
            chosen = self._filter([Test("", "any", [ENTRY])])
            return int(shard.count(self._edge.CountRequest(exact=True, filter=chosen)))

    def _put(self, entries: Sequence[Entry]) -> None:
        edge = self._edge
        points = [
            edge.Point(
                point_id(entry.id),
                {VECTOR_NAME: edge.SparseVector(entry.vector.columns.tolist(), entry.vector.weights.tolist())},
                payload_of(entry),
            )
            for entry in entries
        ]
        with self._shard() as shard:
            shard.update(edge.UpdateOperation.upsert_points(points))
            shard.flush()

    def _get(self, ids: Sequence[str], fields: Sequence[str], vectors: bool) -> Iterable[Entry]:
        with self._shard() as shard:
            points = shard.retrieve(list(map(point_id, ids)), with_payload=["id", *fields], with_vector=vectors)
        return [entry_of(point) for point in points]

    def _page(self, after: Any, fields: Sequence[str]) -> tuple[list[Entry], Any]:
        request = self._edge.ScrollRequest(offset=after, limit=self.batch, with_payload=["id", *fields])
        with self._shard() as shard:
            points, following = shard.scroll(request)
        return [entry_of(point) for point in points], following

    def _remove(self, ids: Sequence[str]) -> None:
        with self._shard() as shard:
            shard.update(self._edge.UpdateOperation.delete_points(list(map(point_id, ids))))
            shard.flush()

    def _nearest(self, query: Vector, k: int, tests: Sequence[Test], fields: Sequence[str]) -> Iterable[Found]:
        edge = self._edge
        vector = edge.SparseVector(query.columns.tolist(), query.weights.tolist())
        nearest = edge.Query.Nearest(vector, using=VECTOR_NAME)
        asked = {"filter": self._filter(tests), "with_payload": ["id", *fields]}
        request = edge.QueryRequest(limit=k, query=nearest, **asked)
        with self._shard() as shard:
            return [Found(entry_of(point), point.score) for point in shard.query(request)]

    def _close(self) -> None:
        if self._loaded is not None:
            self._loaded.close()

    def _filter(self, tests: Sequence[Test]) -> Any:
        edge = self._edge
        must, must_not = conditions(tests, edge.FieldCondition, edge.MatchAny, edge.RangeFloat)
        return edge.Filter(must=must, must_not=must_not)

    @contextmanager
    def _shard(self) -> Iterator[Any]:
        if self._loaded is None:
            with one_error(self._folder, "a shard that saelex made", "make it again"):
                self._loaded = self._edge.EdgeShard.load(str(self._folder))
        try:
            yield self._loaded
        except (RuntimeError, ValueError, OSError) as error:
            raise InputError(f"{self.url}: {error}") from error


def _package() -> Any:
    try:
        import qdrant_edge
    except ImportError as error:
        raise needs_extra("Qdrant's embedded engine", "qdrant-edge-py", "qdrant") from error
    return qdrant_edge
