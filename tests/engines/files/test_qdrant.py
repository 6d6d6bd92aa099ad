from __future__ import annotations

import json
import uuid
from pathlib import Path

import numpy as np
import pytest
from tests.engines.files.sample import Sample, dots

from saelex.engines.files.format import write_documents, write_queries
from saelex.engines.files.qdrant import VECTOR_NAME, Qdrant, point_id


@pytest.fixture
def files(tmp_path: Path, sample: Sample) -> tuple[list[dict], list[dict]]:  # type: ignore[type-arg]
    form = Qdrant()
    write_documents(tmp_path / "d.jsonl", form, sample.documents, sample.summary)
    write_queries(tmp_path / "q.jsonl", form, sample.queries, sample.summary)
    documents, queries = ((tmp_path / name).read_text(encoding="utf-8").splitlines() for name in ("d.jsonl", "q.jsonl"))
    return [json.loads(line) for line in documents], [json.loads(line) for line in queries]


def test_the_file_gives_the_same_scores(files: tuple[list[dict], list[dict]], sample: Sample) -> None:  # type: ignore[type-arg]
    points, queries = files
    vectors = [point["vector"][VECTOR_NAME] for point in points]
    bodies = [query["body"]["query"] for query in queries]
    found = dots(*([dict(zip(v["indices"], v["values"])) for v in each] for each in (bodies, vectors)))
    np.testing.assert_allclose(found, sample.scores, rtol=1e-6)
    assert [point["payload"]["id"] for point in points] == [document.id for document, _ in sample.documents]


def test_ids_are_stable_uuids(files: tuple[list[dict], list[dict]]) -> None:  # type: ignore[type-arg]
    assert point_id("doc-0") == files[0][0]["id"] == str(uuid.UUID(files[0][0]["id"]))
    assert len({point["id"] for point in files[0]}) == 40


def test_qdrants_own_engine_gives_the_same_scores(
    files: tuple[list[dict], list[dict]],  # type: ignore[type-arg]
    sample: Sample,
    tmp_path: Path,
) -> None:
    edge = pytest.importorskip("qdrant_edge")
    config = edge.EdgeConfig(vectors={}, sparse_vectors={VECTOR_NAME: edge.EdgeSparseVectorParams()})
    (tmp_path / "shard").mkdir()
    shard = edge.EdgeShard.create(str(tmp_path / "shard"), config)
    points, queries = files
    shard.update(
        edge.UpdateOperation.upsert_points(
            [
                edge.Point(
                    point["id"], {VECTOR_NAME: edge.SparseVector(**point["vector"][VECTOR_NAME])}, point["payload"]
                )
                for point in points
            ]
        )
    )
    for query, exact in zip(queries, sample.scores):
        vector = edge.SparseVector(**query["body"]["query"])
        request = edge.QueryRequest(
            query=edge.Query.Nearest(vector, using=VECTOR_NAME), limit=40, with_payload=True, with_vector=False
        )
        found = {hit.payload["id"]: hit.score for hit in shard.query(request)}
        wanted = {document.id: score for (document, _), score in zip(sample.documents, exact) if score}
        assert found == pytest.approx(wanted, rel=1e-5)
