from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.engines.files.sample import Sample, dots

from saelex.corpus.documents import Document
from saelex.engines.files.format import Summary, write_documents, write_queries
from saelex.engines.files.opensearch import OpenSearch, OpenSearchSparseVector
from saelex.errors import InputError


def feature_field(weight: float) -> float:
    """What Lucene's FeatureField keeps of a weight: the upper 17 of a float32's bits."""
    bits = np.array([weight], np.float32).view(np.int32) >> 15 << 15
    return float(bits.view(np.float32)[0])


def read(path: Path, queries: Path) -> tuple[list[str], list[dict[int, float]], list[dict[int, float]]]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    ids = [line["index"]["_id"] for line in lines[::2]]
    documents = [{int(name): weight for name, weight in line["vector"].items()} for line in lines[1::2]]
    bodies = [json.loads(line)["body"] for line in queries.read_text(encoding="utf-8").splitlines()]
    tokens = [body["query"]["neural_sparse"]["vector"]["query_tokens"] for body in bodies]
    return ids, documents, [{int(name): weight for name, weight in each.items()} for each in tokens]


def test_the_file_gives_the_same_scores(tmp_path: Path, sample: Sample) -> None:
    form = OpenSearch()
    write_documents(tmp_path / "d.jsonl", form, sample.documents, sample.summary)
    write_queries(tmp_path / "q.jsonl", form, sample.queries, sample.summary)
    ids, documents, queries = read(tmp_path / "d.jsonl", tmp_path / "q.jsonl")
    assert ids == [document.id for document, _ in sample.documents]
    np.testing.assert_allclose(dots(queries, documents), sample.scores, rtol=1e-6)
    # and as rank_features keeps it: never more, and at most 1/256 less
    kept = dots(queries, [{c: feature_field(w) for c, w in document.items()} for document in documents])
    assert np.all(kept <= sample.scores * (1 + 1e-6))
    np.testing.assert_allclose(kept, sample.scores, rtol=1 / 256)


def test_the_mapping_names_the_fields_of_the_lines(tmp_path: Path, sample: Sample) -> None:
    form = OpenSearch()
    source = json.loads(form.document(*sample.documents[3], sample.summary).splitlines()[1])
    assert source["metadata"] == {"year": 3} and source["title"] == "title 3"
    properties = form.settings(sample.summary)["mappings"]["properties"]
    assert properties.keys() == source.keys()
    assert properties["vector"] == {"type": "rank_features"}


def test_sparse_vector_refuses_ids_that_it_would_fold(sample: Sample) -> None:
    form = OpenSearchSparseVector()
    assert "65536 columns" in form.limits
    with pytest.raises(InputError, match="70000 columns: OpenSearch sparse_vector folds"):
        form.settings(sample.summary)
    settings = form.settings(Summary(65_536, 3.5, 2.5))
    method = settings["mappings"]["properties"]["vector"]["method"]
    assert method["parameters"] == {"quantization_ceiling_ingest": 3.5, "quantization_ceiling_search": 2.5}


def test_sparse_vector_scores_within_its_bytes(sample: Sample) -> None:
    """Weights as bytes below the ceilings that settings() sets: off by at most 1/510 of the ceiling each."""
    summary = sample.summary
    documents = [dict(zip(v.columns.tolist(), v.weights.tolist())) for _, v in sample.documents]
    queries = [dict(zip(v.columns.tolist(), v.weights.tolist())) for _, v in sample.queries]

    def as_byte(weight: float, ceiling: float) -> float:
        return round(weight / ceiling * 255) * ceiling / 255

    kept = dots(
        [{c: as_byte(w, summary.heaviest_query) for c, w in query.items()} for query in queries],
        [{c: as_byte(w, summary.heaviest) for c, w in document.items()} for document in documents],
    )
    bound = 12 * 2.1 * summary.heaviest * summary.heaviest_query / 510
    assert np.abs(kept - sample.scores).max() < bound


def test_caps(sample: Sample) -> None:
    with pytest.raises(InputError, match="a query weight of 65: OpenSearch rank_features takes at most 64"):
        OpenSearch().settings(Summary(100, 1.0, 65.0))
    with pytest.raises(InputError, match="has 600 bytes; OpenSearch takes at most 512"):
        OpenSearch().document(Document("ü" * 300, ""), sample.documents[0][1], sample.summary)
