from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tests.engines.files.sample import Sample, dots

from saelex.corpus.documents import Document, Query
from saelex.engines.files.anserini import Anserini
from saelex.engines.files.format import write_documents, write_queries
from saelex.errors import InputError


@pytest.mark.parametrize("levels", [20, 100, 255])
def test_the_file_gives_the_same_scores_within_the_stated_step(tmp_path: Path, sample: Sample, levels: int) -> None:
    form = Anserini(levels)
    write_documents(tmp_path / "d.jsonl", form, sample.documents, sample.summary)
    write_queries(tmp_path / "q.tsv", form, sample.queries, sample.summary)
    lines = [json.loads(line) for line in (tmp_path / "d.jsonl").read_text(encoding="utf-8").splitlines()]
    documents = [{int(name): weight for name, weight in line["vector"].items()} for line in lines]
    assert all(isinstance(weight, int) and 0 < weight <= levels for each in documents for weight in each.values())
    topics = [line.split("\t") for line in (tmp_path / "q.tsv").read_text().splitlines()]
    queries = [dict(Counter(map(int, text.split()))) for _, text in topics]
    settings = form.settings(sample.summary)
    found = dots(queries, documents) * settings["document_step"] * settings["query_step"]
    # each of at most 12 shared columns: both weights off by half a step
    heaviest, heaviest_query = sample.summary.heaviest, sample.summary.heaviest_query
    bound = 12 * heaviest * heaviest_query * (1 / levels + 1 / (4 * levels**2))
    assert np.abs(found - sample.scores).max() < bound


def test_ids_with_blanks_are_refused(sample: Sample) -> None:
    with pytest.raises(InputError, match="holds a blank"):
        Anserini().document(Document("a b", ""), sample.documents[0][1], sample.summary)
    with pytest.raises(InputError, match="holds a blank"):
        Anserini().query(Query("a\tb", ""), sample.queries[0][1], sample.summary)
    with pytest.raises(InputError, match="levels must be at least 1"):
        Anserini(0)
