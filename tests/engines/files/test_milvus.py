from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.engines.files.sample import Sample, dots

from saelex.corpus.documents import Document
from saelex.engines.files.format import write_documents, write_queries
from saelex.engines.files.milvus import Milvus
from saelex.errors import InputError


def test_the_file_gives_the_same_scores(tmp_path: Path, sample: Sample) -> None:
    form = Milvus()
    write_documents(tmp_path / "d.jsonl", form, sample.documents, sample.summary)
    write_queries(tmp_path / "q.jsonl", form, sample.queries, sample.summary)
    rows = [json.loads(line) for line in (tmp_path / "d.jsonl").read_text(encoding="utf-8").splitlines()]
    data = [json.loads(line)["data"] for line in (tmp_path / "q.jsonl").read_text(encoding="utf-8").splitlines()]
    vectors = [row["vector"] for row in rows]
    found = dots(*([dict(zip(v["indices"], v["values"])) for v in each] for each in (data, vectors)))
    np.testing.assert_allclose(found, sample.scores, rtol=1e-6)
    fields = [field["name"] for field in form.settings(sample.summary)["fields"]]
    assert fields == list(rows[0])
    assert rows[5]["metadata"] == {"year": 5}


def test_metadata_and_ids_have_caps(sample: Sample) -> None:
    vector = sample.documents[0][1]
    with pytest.raises(InputError, match="metadata of document 'a'"):
        Milvus().document(Document("a", "x", metadata={"long": "x" * 70_000}), vector, sample.summary)
    with pytest.raises(InputError, match="Milvus takes at most 65535"):
        Milvus().document(Document("a" * 70_000, "x"), vector, sample.summary)
