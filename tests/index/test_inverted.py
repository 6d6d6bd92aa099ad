"""InvertedIndex against scipy on the stored weights, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.index.fakes import random_rows

from saelex.errors import CorruptIndexError, InputError, MismatchError, SaelexError
from saelex.index.inverted import InvertedIndex
from saelex.vectors import SparseRows

V = 300


def expected_hits(
    index: InvertedIndex, ids: list[str], documents: SparseRows, queries: SparseRows, k: int
) -> list[list[tuple[str, float]]]:
    """Brute force with scipy: integers of both sides multiplied, ties by order of adding."""
    quantiser = index.quantiser
    assert quantiser is not None
    rows = quantiser.documents(documents)
    import scipy.sparse

    matrix = scipy.sparse.csr_array(
        (rows.weights.astype(np.int64), rows.latents, rows.indptr), shape=(len(documents), documents.n_latents)
    )
    expected = []
    for i in range(len(queries)):
        query = quantiser.query(*queries.row(i))
        dense = np.zeros(documents.n_latents, np.int64)
        dense[query.latents] = query.weights
        scores = matrix @ dense
        order = np.lexsort((np.arange(len(ids)), -scores))[:k]
        expected.append([(ids[j], scores[j] * (query.step * quantiser.step)) for j in order if scores[j] > 0])
    return expected


def found(index: InvertedIndex, queries: SparseRows, k: int) -> list[list[tuple[str, float]]]:
    hits = index.search(queries, k)
    return [list(zip(ids, scores.tolist())) for ids, scores in zip(hits.ids, hits.scores)]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("forward", [False, True])
def test_equals_scipy_over_segments_deletes_and_merges(tmp_path: Path, bits: int, forward: bool) -> None:
    documents, queries = random_rows(120, V, 30, seed=1, positions=True), random_rows(9, V, 12, seed=2)
    ids = [f"d{i}" for i in range(120)]
    with InvertedIndex.create(tmp_path / "i", V, bits=bits, forward=forward) as index:
        for first in range(0, 120, 40):
            index.add(ids[first : first + 40], documents[first : first + 40])
        assert found(index, queries, 15) == expected_hits(index, ids, documents, queries, 15)
        gone = {"d3", "d39", "d40", "d119"}
        index.delete(gone)
        kept = [i for i in range(120) if ids[i] not in gone]
        expected = expected_hits(index, [ids[i] for i in kept], documents[kept], queries, 15)
        assert found(index, queries, 15) == expected
        assert len(index) == 116
        index.merge()
        assert found(index, queries, 15) == expected
        assert index.check().ok, str(index.check())
        assert index.check().deleted == 0 and index.check().segments == 1
    with InvertedIndex.open(tmp_path / "i") as index:
        assert found(index, queries, 15) == expected


def test_any_split_gives_the_same_hits(tmp_path: Path) -> None:
    documents, queries = random_rows(24, V, 20, seed=3), random_rows(5, V, 10, seed=4)
    # the heaviest first: the step comes from the first commit
    order = np.argsort([-documents.row(i)[1].max(initial=0) for i in range(24)], kind="stable")
    documents, ids = documents[order], [f"d{i}" for i in range(24)]
    answers = []
    for name, size in (("whole", 24), ("split", 7), ("single", 2)):
        with InvertedIndex.create(tmp_path / name, V) as index:
            for first in range(0, 24, size):
                index.add(ids[first : first + size], documents[first : first + size])
            answers.append(found(index, queries, 10))
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("bits", [8, 16])
def test_scores_are_within_rounding_of_the_float_scores(tmp_path: Path, bits: int) -> None:
    documents, queries = random_rows(50, V, 60, seed=5), random_rows(10, V, 40, seed=6)
    with InvertedIndex.create(tmp_path / "i", V, bits=bits) as index:
        index.add([str(i) for i in range(50)], documents)
        hits = index.search(queries, 50)
        assert index.quantiser is not None
        step = index.quantiser.step
        for q, (ids, scores) in enumerate(zip(hits.ids, hits.scores)):
            rows = [int(name) for name in ids]
            reference = documents[rows].dot(queries[q])[:, 0]
            query_step = index.quantiser.query(*queries.row(q)).step
            sums = queries.row(q)[1].sum(), np.array([documents.row(i)[1].sum() for i in rows])
            # every weight is off by half a step at most
            assert np.all(np.abs(scores - reference) <= step / 2 * sums[0] + query_step / 2 * sums[1] + 1e-5)


def test_ties_keep_the_order_of_adding(tmp_path: Path) -> None:
    same = SparseRows.from_dicts([{5: 1.0}] * 6, V)
    with InvertedIndex.create(tmp_path / "i", V) as index:
        index.add(["c", "a"], same[:2])
        index.add(["b", "z", "y", "x"], same[2:])
        assert index.search(same[:1], 5).ids == [["c", "a", "b", "z", "y"]]


def test_refuses_and_stays_as_it_was(tmp_path: Path) -> None:
    rows = random_rows(4, V, 10, seed=7)
    with InvertedIndex.create(tmp_path / "i", V) as index:
        index.add(["a", "b"], rows[:2])
        with pytest.raises(InputError, match="'b' is in the index already"):
            index.add(["c", "b"], rows[2:])
        with pytest.raises(InputError, match="'c' is there twice"):
            index.add(["c", "c"], rows[2:])
        with pytest.raises(InputError, match="not ''"):
            index.add(["", "c"], rows[2:])
        with pytest.raises(InputError, match="1 ids for 2"):
            index.add(["c"], rows[2:])
        with pytest.raises(MismatchError, match="300 latents"):
            index.add(["c"], SparseRows.from_dicts([{1: 1.0}], V + 1))
        with pytest.raises(MismatchError, match="300 latents"):
            index.search(SparseRows.from_dicts([{1: 1.0}], V + 1))
        with pytest.raises(InputError, match="not negative"):
            index.add(["c"], SparseRows.from_dicts([{1: -1.0}], V))
        with pytest.raises(InputError, match="finite"):
            index.add(["c"], SparseRows.from_dicts([{1: float("nan")}], V))
        with pytest.raises(InputError, match="'zzz' is not in the index"):
            index.delete(["a", "zzz"])
        with pytest.raises(InputError, match="at least 1"):
            index.search(rows[:1], 0)
        with pytest.raises(InputError, match="unknown search mode"):
            index.search(rows[:1], 1, mode="fuzzy")  # type: ignore[arg-type]
        assert len(index) == 2 and "a" in index and "c" not in index
        assert index.check().ok
    with pytest.raises(SaelexError, match="closed"):
        index.add(["c", "d"], rows[2:])
    with pytest.raises(InputError, match="exists already"):
        InvertedIndex.create(tmp_path / "i", V)
    with pytest.raises(InputError, match="no such index"):
        InvertedIndex.open(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorruptIndexError, match="not an index"):
        InvertedIndex.open(tmp_path / "empty")


def test_empty_index_and_empty_rows(tmp_path: Path) -> None:
    queries = random_rows(2, V, 10, seed=8)
    with InvertedIndex.create(tmp_path / "i", V) as index:
        assert index.search(queries, 3).ids == [[], []]
        index.add(["blank"], SparseRows.empty(V, 1))
        assert index.search(queries, 3).ids == [[], []] and len(index) == 1
        index.add(["a"], SparseRows.from_dicts([{1: 2.0}], V))
        assert index.search(SparseRows.from_dicts([{1: 1.0}, {}], V), 3).ids == [["a"], []]
        index.delete(["a", "blank"])
        index.merge()
        assert index.search(queries, 3).ids == [[], []] and len(index) == 0
        assert index.check().ok and index.check().segments == 0


def test_what_the_pruned_searches_read_is_kept_on_request(tmp_path: Path) -> None:
    rows = random_rows(3, V, 10, seed=9, positions=True)

    def arrays(index: InvertedIndex) -> list[int]:
        return [len(segment.sizes) for segment in index._storage.snapshot.segments]

    with InvertedIndex.create(tmp_path / "plain", V) as index:
        index.add(["a", "b", "c"], rows)
        assert arrays(index) == [9]
        for mode in ("capped", "two_step"):
            with pytest.raises(InputError, match=f"{mode} search reads pruned postings"):
                index.search(rows, 1, mode=mode)  # type: ignore[arg-type]
    with InvertedIndex.create(tmp_path / "pruned", V, pruned=True) as index:
        index.add(["a", "b", "c"], rows)
        assert arrays(index) == [15]
        exact = index.search(rows, 1).ids
        assert index.search(rows, 1, mode="capped").ids == index.search(rows, 1, mode="two_step").ids == exact
    with InvertedIndex.open(tmp_path / "pruned") as index:
        index.add(["d", "e", "f"], rows)
        index.merge()
        assert arrays(index) == [15] and index.check().ok
    with pytest.raises(InputError, match="keep those, or leave out pruned"):
        InvertedIndex.create(tmp_path / "none", V, forward=False, pruned=True)


def test_readers_keep_their_snapshot_until_they_refresh(tmp_path: Path) -> None:
    rows = SparseRows.from_dicts([{1: 1.0}, {1: 2.0}, {1: 3.0}], V)
    query = SparseRows.from_dicts([{1: 1.0}], V)
    with InvertedIndex.create(tmp_path / "i", V) as writer:
        writer.add(["a"], rows[:1])
        with InvertedIndex.open(tmp_path / "i") as reader:
            writer.add(["b"], rows[1:2])
            writer.delete(["a"])
            writer.merge()  # the files that the reader has mapped are gone from the folder
            writer.add(["c"], rows[2:])
            assert reader.search(query).ids == [["a"]]
            assert reader.refresh() and not reader.refresh()
            assert reader.search(query).ids == [["c", "b"]]


def test_heavier_weights_later_are_cut_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with InvertedIndex.create(tmp_path / "i", V) as index:
        index.add(["a"], SparseRows.from_dicts([{1: 1.0}], V))
        index.add(["b"], SparseRows.from_dicts([{1: 3.9}], V))
        assert not caplog.records
        index.add(["c"], SparseRows.from_dicts([{1: 9.0}], V))
        assert "1 weights lie above 4" in caplog.text
        hits = index.search(SparseRows.from_dicts([{1: 1.0}], V))
        assert hits.ids == [["c", "b", "a"]]
        np.testing.assert_allclose(hits.scores[0], [4.0, 3.9, 1.0], rtol=1e-4)


def test_many_small_adds_are_merged_in_order(tmp_path: Path) -> None:
    rows = random_rows(19, V, 10, seed=10)
    with InvertedIndex.create(tmp_path / "i", V, forward=False) as index:
        for i in range(19):
            index.add([f"d{i}"], rows[i])
        report = index.check()
        assert report.ok and report.segments < 8 and report.rows == 19
        assert [p.name for p in (tmp_path / "i" / "segments").iterdir() if p.name.startswith(".")] == []


def test_vectors_without_a_weight_do_not_fix_the_step(tmp_path: Path) -> None:
    heavy = SparseRows.from_dicts([{3: 50.0}], V)
    with InvertedIndex.create(tmp_path / "i", V) as index:
        index.add(["none", "nothing"], SparseRows.build([0, 1, 1], [5], [0.0], V))
        assert index.quantiser is None and index.search(heavy).ids == [[]] and index.check().ok
        index.add(["heavy"], heavy)
        hits = index.search(heavy)
        assert hits.ids == [["heavy"]] and hits.scores[0][0] == pytest.approx(2500, rel=1e-3)
        index.merge()
        assert index.check().ok and index.search(heavy).ids == [["heavy"]]
