from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.encoder.tiny_encoders import tiny_encoder
from tests.encoder.tiny_models import TEXTS

from saelex.corpus.documents import Document
from saelex.errors import InputError
from saelex.evaluation import costs as module
from saelex.evaluation.costs import (
    Costs,
    Latency,
    encode_throughput,
    end_to_end_latency,
    evenly,
    folder_bytes,
    measure_costs,
    time_queries,
    vector_costs,
)
from saelex.index.index import Index
from saelex.index.inverted import InvertedIndex
from saelex.vectors import SparseRows

QUERIES = SparseRows.from_dense([[1, 0, 2, 0], [0, 0, 3, 0]])
PASSAGES = SparseRows.from_dense([[1, 1, 0, 0], [0, 1, 5, 0], [0, 1, 5, 0], [0, 1, 0, 0]])


def random_rows(rows: int, share: float, seed: int) -> SparseRows:
    generator = np.random.default_rng(seed)
    weights = generator.gamma(2.0, size=(rows, 80)) * (generator.random((rows, 80)) < share)
    return SparseRows.from_dense(weights)


class Clock:
    """Each reading of the clock lies so many seconds after the one before."""

    def __init__(self, *steps: float) -> None:
        self.steps = list(steps)
        self.now = 0.0

    def __call__(self) -> float:
        self.now += self.steps.pop(0)
        return self.now


def test_counts_by_hand() -> None:
    found = vector_costs(QUERIES, PASSAGES)
    assert (found.query_active, found.document_active, found.qd_flops) == (1.5, 1.75, 0.625)
    assert found.postings == 2.5  # latents 0 and 2 have 1 and 2 postings, latent 2 has 2
    assert found.latents_used == 0.75
    # document frequencies 1, 4, 2, 0: the differences of all ordered pairs add up to 26
    assert found.df_gini == pytest.approx(26 / (2 * 4**2 * 1.75))
    assert (found.latency_ms, found.encode_queries_per_s, found.index_bytes_per_document) == (None, None, None)


def test_words_count_as_columns_but_not_as_latents() -> None:
    words = SparseRows.from_dense([[1.0], [1], [1], [1]])
    alone, found = (
        vector_costs(QUERIES, PASSAGES),
        vector_costs(QUERIES.beside(words[:2]), PASSAGES.beside(words), n_latents=4),
    )
    assert found.query_active == alone.query_active + 1 and found.document_active == alone.document_active + 1
    assert (found.qd_flops, found.postings) == (alone.qd_flops + 1, alone.postings + 4)
    assert (found.latents_used, found.df_gini) == (alone.latents_used, alone.df_gini)
    with pytest.raises(InputError, match="6 latents in vectors of 4 columns"):
        vector_costs(QUERIES, PASSAGES, n_latents=6)


def test_an_index_of_the_passages(tmp_path: Path) -> None:
    queries, passages = random_rows(12, 0.1, 0), random_rows(60, 0.2, 1)
    found = measure_costs(queries, passages, n_documents=30, k=5, mode="capped")
    with InvertedIndex.create(tmp_path / "index", 80, pruned=True) as index:
        index.add([str(i) for i in range(60)], passages)
        assert found.postings == pytest.approx(np.mean(index.search(queries, 5).postings))
    assert found.index_bytes_per_document is not None and found.latency_ms is not None
    # the catalogue's pages may differ a little
    assert found.index_bytes_per_document == pytest.approx(folder_bytes(tmp_path / "index") / 30, rel=0.05)
    latency = found.latency_ms
    assert (latency.k, latency.mode, latency.cores, latency.queries) == (5, "capped", 1, 12)
    assert 0 < latency.p50 <= latency.p95 <= latency.p99
    assert found.df_gini == vector_costs(queries, passages).df_gini
    assert Costs.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_rows_of_a_file_are_taken_as_they_are(tmp_path: Path) -> None:
    random_rows(9, 0.2, 2).save(tmp_path / "rows")
    rows = SparseRows.load(tmp_path / "rows")
    assert measure_costs(rows, rows).latency_ms is not None


def test_every_query_is_timed_once_after_a_pass_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(module.time, "perf_counter", Clock(0, 0.5, 9, 0.25))
    times = time_queries(asked.append, ["a", "b"])
    assert asked == ["a", "b", "a", "b"]
    assert times.tolist() == [500, 250]
    with pytest.raises(InputError, match="no queries"):
        time_queries(asked.append, [])


def test_percentiles() -> None:
    latency = Latency.of(np.arange(101.0), 10, "exact", 1)
    assert (latency.p50, latency.p95, latency.p99, latency.queries) == (50, 95, 99, 101)


def test_evenly() -> None:
    assert evenly(range(10), 4) == [0, 2, 5, 7]
    assert evenly("abc", 3) == ["a", "b", "c"]
    assert evenly("abc", 9) == ["a", "b", "c"]


def test_throughput(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []

    class Counting:
        def encode(self, texts: list[str], **options: Any) -> None:
            encoded.append(len(texts))
            assert options["top_k"] == "default" and options["side"] in ("query", "document")

    monkeypatch.setattr(module.time, "perf_counter", Clock(0, 4))
    assert encode_throughput(Counting(), ["text"] * 300, "query", at_most=100) == 25  # type: ignore[arg-type]
    assert encoded == [8, 100]
    for side, texts in (("query", 32), ("document", 64)):
        monkeypatch.setattr(module.time, "perf_counter", Clock(0, 4))
        assert encode_throughput(Counting(), ["text"] * 300, side) == texts / 4  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no texts"):
        encode_throughput(Counting(), [], "query")  # type: ignore[arg-type]


def test_end_to_end(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", tiny_encoder(tmp_path / "bert")) as index:
        index.add(Document(f"d{i}", text) for i, text in enumerate(TEXTS))
        latency = end_to_end_latency(index, [*TEXTS[:3], " "], 2, words=False)
        many = end_to_end_latency(index, TEXTS[:1] * 40)
        with pytest.raises(InputError, match="no queries"):
            end_to_end_latency(index, [" "])
    assert (latency.k, latency.mode, latency.queries) == (2, "exact", 3)
    assert 0 < latency.p50 <= latency.p99
    assert many.queries == 32
