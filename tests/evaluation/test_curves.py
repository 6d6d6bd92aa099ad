from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from saelex.corpus.opening import read_collection
from saelex.errors import InputError
from saelex.evaluation.curves import LatencyPoint, QualityCurve, QualityPoint, frontier, recall_latency, top_k_grid
from saelex.evaluation.encoded import EncodedCollection, JudgedDocuments, Measured
from saelex.index.inverted import InvertedIndex
from saelex.vectors import SparseRows


def random_rows(rows: int, columns: int, active: int, seed: int) -> SparseRows:
    """Rows of exactly `active` columns."""
    generator = np.random.default_rng(seed)
    dense = np.zeros((rows, columns))
    for row in dense:
        row[generator.choice(columns, active, replace=False)] = generator.gamma(2.0, size=active) + 0.01
    return SparseRows.from_dense(dense)


@pytest.fixture
def encoded(tmp_path: Path) -> EncodedCollection:
    """Eight queries over 40 documents, the first ten of two passages each; vectors and judgements at random."""
    root = tmp_path / "tiny"
    (root / "qrels").mkdir(parents=True)
    (root / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": f"d{i:02}", "text": "text"}) + "\n" for i in range(40))
    )
    (root / "queries.jsonl").write_text("".join(json.dumps({"_id": f"q{i}", "text": "query"}) + "\n" for i in range(8)))
    generator = np.random.default_rng(0)
    lines = [f"q{i}\td{document:02}\t1\n" for i in range(8) for document in generator.choice(40, 6, replace=False)]
    (root / "qrels" / "test.tsv").write_text("".join(lines))
    judged = JudgedDocuments.read(read_collection(root))
    first_passages = np.array([*range(0, 20, 2), *range(20, 50)], np.int64)
    return EncodedCollection(
        judged,
        first_passages,
        random_rows(8, 60, 9, 1),
        random_rows(50, 60, 20, 2),
        random_rows(8, 30, 3, 3),
        random_rows(50, 30, 6, 4),
    )


@pytest.mark.parametrize("word_scale", [None, 0.7])
def test_the_grid_is_what_measured_gives(encoded: EncodedCollection, word_scale: float | None) -> None:
    query_ks, document_ks = (3, None, 6, "2+60%"), (8, "3+50%", None, 15, 4, "9+70%")
    points = top_k_grid(encoded, query_ks, document_ks, word_scale)
    wanted = [(query, document) for document in document_ks for query in query_ks]
    assert [point.top_k for point in points] == wanted
    assert [point.measured for point in points] == [encoded.measured(top_k, word_scale) for top_k in wanted]
    assert len({point.measured.qd_flops for point in points}) == len(wanted)
    first = points[0].to_json()
    assert (first["query_top_k"], first["document_top_k"]) == (3, 8)
    assert first["measures"] == points[0].measured.measures
    assert first["query_active"] == (3 if word_scale is None else 6)


def point(flops: float, value: float) -> QualityPoint:
    return QualityPoint((1, 1), Measured({"nDCG@10": value}, 1, 1, flops))


def test_the_frontier_is_what_no_cheaper_point_beats() -> None:
    points = [point(2, 0.3), point(1, 0.2), point(3, 0.3), point(4, 0.5), point(4, 0.6), point(5, 0.1)]
    assert frontier(points, "nDCG@10") == [point(1, 0.2), point(2, 0.3), point(4, 0.6)]
    with pytest.raises(InputError, match="no measure 'MAP'; there are nDCG@10"):
        frontier(points, "MAP")


def test_a_curve_is_the_mean_over_its_collections() -> None:
    curve = QualityCurve.of("a", {"x": [point(2, 0.3), point(1, 0.2)], "y": [point(4, 0.5), point(2, 0.0)]})
    assert [one.measured.qd_flops for one in curve.points] == [3, 1.5]
    assert [one.measured.measures["nDCG@10"] for one in curve.points] == pytest.approx([0.4, 0.1])
    assert json.loads(json.dumps(curve.to_json()))["collections"]["y"][0]["qd_flops"] == 4
    with pytest.raises(InputError, match="at least one collection"):
        QualityCurve.of("a", {})


@pytest.fixture(scope="module")
def vectors() -> tuple[SparseRows, SparseRows]:
    return random_rows(15, 60, 14, 5), random_rows(700, 60, 30, 6)


@pytest.fixture(scope="module")
def points(vectors: tuple[SparseRows, SparseRows]) -> list[LatencyPoint]:
    return recall_latency(
        *vectors, depths=(5, 30), caps=(20, 400), query_terms=(1, 10), document_terms=(4, 64), candidates=(4, 200)
    )


def chosen(points: list[LatencyPoint], mode: str, knob: str, k: int = 30) -> list[LatencyPoint]:
    return [one for one in points if (one.latency.mode, one.knob, one.latency.k) == (mode, knob, k)]


def test_the_modes_as_they_are_find_what_an_index_finds(
    vectors: tuple[SparseRows, SparseRows], points: list[LatencyPoint], tmp_path: Path
) -> None:
    with InvertedIndex.create(tmp_path / "index", 60, pruned=True) as index:
        index.add([str(i) for i in range(700)], vectors[1])
        for k in (5, 30):
            exact = index.search(vectors[0], k)
            for mode in ("exact", "capped", "two_step"):
                hits = index.search(vectors[0], k, mode)  # type: ignore[arg-type]
                recall = np.mean([len({*mine} & {*theirs}) / k for mine, theirs in zip(hits.ids, exact.ids)])
                (found,) = chosen(points, mode, "", k)
                assert found.recall == pytest.approx(recall)
                assert found.postings == pytest.approx(np.mean(hits.postings))
                assert found.latency.queries == 15 and found.latency.cores == 1
                assert 0 < found.latency.p50 <= found.latency.p99


def test_caps_cut_long_columns(vectors: tuple[SparseRows, SparseRows], points: list[LatencyPoint]) -> None:
    queries, passages = ((rows.to_dense() > 0).astype(int) for rows in vectors)
    frequencies = passages.sum(0)
    assert frequencies.min() > 20 and frequencies.max() < 2048
    found = chosen(points, "capped", "cap")
    assert [one.value for one in found] == [20, 400]
    for one, cap in zip(found, (20, 400)):
        assert one.postings == pytest.approx((queries @ np.minimum(frequencies, cap)).mean())
    assert found[0].recall < found[1].recall <= 1


def test_the_first_steps_knobs(vectors: tuple[SparseRows, SparseRows], points: list[LatencyPoint]) -> None:
    (own,) = chosen(points, "two_step", "")
    one_term, ten_terms = chosen(points, "two_step", "query_terms")
    assert (ten_terms.recall, ten_terms.postings) == (own.recall, own.postings)  # ten is the search's own
    heaviest = [int(latents[np.argmax(weights)]) for latents, weights in vectors[0]]
    frequencies = (vectors[1].to_dense() > 0).sum(0)
    assert one_term.postings == pytest.approx(frequencies[heaviest].mean())
    four_kept, all_kept = chosen(points, "two_step", "document_terms")
    assert (all_kept.recall, all_kept.postings) == (own.recall, own.postings)  # no passage has more than 30
    assert four_kept.postings < own.postings and four_kept.recall < own.recall


def test_more_candidates_find_more(points: list[LatencyPoint]) -> None:
    few, all_rows = chosen(points, "two_step", "candidates")
    assert (few.value, all_rows.value) == (120, 6000)
    assert few.recall <= all_rows.recall
    assert chosen(points, "capped", "candidates")[1].recall == 1


def test_refused_and_sampled(vectors: tuple[SparseRows, SparseRows]) -> None:
    with pytest.raises(InputError, match="no queries or no passages"):
        recall_latency(SparseRows.empty(60), vectors[1])
    few = recall_latency(*vectors, depths=(3,), caps=(), query_terms=(), document_terms=(), candidates=(), at_most=4)
    assert [one.latency.queries for one in few] == [4, 4, 4]
    assert json.loads(json.dumps(few[0].to_json()))["latency"]["mode"] == "exact"
