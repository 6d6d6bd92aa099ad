"""One suite for every engine: the same documents and queries, scores against dot products in float64."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.engines.places import PLACES, Places

import synthetic
from saelex.engines.registry import store_class
from saelex.engines.scipy import ScipyEngine
from saelex.engines.seismic import SeismicEngine
from saelex.engines.url import EngineUrl
from saelex.errors import InputError, MismatchError, SaelexError
from saelex.index.engine import Hits, Limits, VectorEngine
from saelex.index.inverted import InvertedIndex
from saelex.vectors import SparseRows

N_LATENTS = 70_000  # more than 16 bits can name
N_DOCUMENTS, EMPTY = 60, 7  # that row has no latents
IDS = [f"doc {i} é" for i in range(N_DOCUMENTS)]
K = 10
FLOAT32 = 40 * 2.0**-23  # of the sum of absolute products: what adding up some 40 of them in float32 may cost

MEMBERS: dict[str, Callable[[Path], VectorEngine]] = {
    "inverted": lambda folder: InvertedIndex.create(folder, N_LATENTS),
    "inverted-8-bits": lambda folder: InvertedIndex.create(folder, N_LATENTS, bits=8, forward=False),
    "scipy": lambda _: ScipyEngine(N_LATENTS),
    "seismic": lambda _: SeismicEngine(N_LATENTS),
}


def store(url: str) -> VectorEngine:
    parsed = EngineUrl.parse(url)
    return store_class(parsed).create(parsed, N_LATENTS)


@pytest.fixture(params=[*MEMBERS, *PLACES])
def engine(request: pytest.FixtureRequest, tmp_path: Path, places: Places) -> Iterator[VectorEngine]:
    name = request.param
    if name == "seismic":
        pytest.importorskip("seismic")
    make = MEMBERS.get(name)
    with closing(store(places(name)) if make is None else make(tmp_path / "engine")) as made:
        yield made


def made(n_rows: int, most: int, seed: int) -> SparseRows:
    """Rows over 60 columns of all, each with some of them; weights from 0.05 to 3."""
    generator = np.random.default_rng(seed)
    columns = np.random.default_rng(5).choice(N_LATENTS, 60, replace=False)
    columns[0] = N_LATENTS - 1
    chosen = [generator.choice(columns, generator.integers(3, most), replace=False) for _ in range(n_rows)]
    return SparseRows.from_dicts([{int(c): generator.uniform(0.05, 3.0) for c in row} for row in chosen], N_LATENTS)


@pytest.fixture(scope="module")
def documents() -> SparseRows:
    rows = made(N_DOCUMENTS, 30, seed=1)
    return rows.keep(rows.row_of_entry() != EMPTY)


@pytest.fixture(scope="module")
def queries() -> SparseRows:
    """Five plain ones, one without latents, one with a concept that counts half."""
    rows = made(5, 10, seed=2)
    steered = made(1, 10, seed=3)
    steered = steered.with_weights(steered.weights * np.where(np.arange(steered.n_nonzero) % 3, 1, 0.5))
    return SparseRows.concatenate([rows, SparseRows.empty(N_LATENTS, 1), steered])


def dots(queries: SparseRows, documents: SparseRows) -> NDArray[np.float64]:
    """Dot products in float64, [queries, documents]."""
    left, right = (rows.to_dense().astype(np.float64) for rows in (queries, documents))
    return left @ right.T


def tolerances(queries: SparseRows, documents: SparseRows, limits: Limits) -> NDArray[np.float64]:
    """The most by which a score may be off, [queries, documents]: the stated errors of shared latents, added up."""
    left, right = (np.abs(rows.to_dense().astype(np.float64)) for rows in (queries, documents))
    off_left = limits.query_error * left.sum(axis=1, keepdims=True) * (left > 0)
    off_right = limits.document_error * right.max() * (right > 0)
    return off_left @ (right + off_right).T + left @ off_right.T + FLOAT32 * (left @ right.T)


def check(hits: Hits, queries: SparseRows, documents: SparseRows, ids: list[str], limits: Limits, k: int) -> None:
    """Scores are those of the hits' documents, and none better is left out, within what the engine states."""
    exact, off = dots(queries, documents), tolerances(queries, documents, limits)
    assert len(hits.ids) == len(hits.scores) == len(queries)
    shares = []
    for names, scores, truth, most in zip(hits.ids, hits.scores, exact, off):
        rows = [ids.index(name) for name in names]
        assert len(set(rows)) == len(rows) == len(scores) <= k
        assert scores.dtype == np.float64 and np.all(scores > 0) and np.all(np.diff(scores) <= 0)
        assert np.all(np.abs(scores - truth[rows]) <= most[rows])
        # a hit, or too near to zero or to the last hit to tell
        last = scores[-1] if len(scores) == k else 0.0
        surely = np.flatnonzero(truth - most > last)
        shares.append(len(np.intersect1d(surely, rows)) / len(surely) if len(surely) else 1.0)
    assert np.mean(shares) >= (1.0 if limits.finds_all else 0.9), shares


def test_finds_the_best_with_their_scores(engine: VectorEngine, documents: SparseRows, queries: SparseRows) -> None:
    engine.add(IDS[:25], documents[:25])
    engine.add(IDS[25:], documents[25:])
    assert len(engine) == N_DOCUMENTS and engine.n_latents == N_LATENTS
    hits = engine.search(queries, K)
    check(hits, queries, documents, IDS, engine.limits, K)
    assert [len(names) for names in hits.ids] == [K] * 5 + [0] + [len(hits.ids[6])]
    assert len(hits.ids[6]) > 3
    many = engine.search(queries, 10 * N_DOCUMENTS)
    check(many, queries, documents, IDS, engine.limits, 10 * N_DOCUMENTS)
    assert all(IDS[EMPTY] not in names for names in many.ids)


def test_an_empty_engine_finds_nothing(engine: VectorEngine, queries: SparseRows) -> None:
    assert len(engine) == 0
    engine.add([], SparseRows.empty(N_LATENTS))
    hits = engine.search(queries, K)
    assert hits.ids == [[]] * 7 and [len(scores) for scores in hits.scores] == [0] * 7
    nothing = engine.search(SparseRows.empty(N_LATENTS), K)
    assert nothing.ids == nothing.scores == []


def test_a_latent_that_no_document_has(engine: VectorEngine) -> None:
    engine.add(["a"], SparseRows.from_dicts([{3: 2.0}], N_LATENTS))
    hits = engine.search(SparseRows.from_dicts([{3: 1.5, N_LATENTS - 1: 1.0}, {N_LATENTS - 1: 1.0}], N_LATENTS), K)
    assert hits.ids == [["a"], []]
    assert hits.scores[0] == pytest.approx([3.0], rel=1e-3)


def test_delete_then_search_then_add_again(engine: VectorEngine, documents: SparseRows, queries: SparseRows) -> None:
    engine.add(IDS, documents)
    gone = [0, 5, EMPTY, 40]
    if not engine.limits.deletes:
        with pytest.raises(InputError, match="cannot delete"):
            engine.delete([IDS[0]])
        assert len(engine) == N_DOCUMENTS
        return
    engine.delete([IDS[row] for row in gone])
    kept = [row for row in range(N_DOCUMENTS) if row not in gone]
    left = [IDS[row] for row in kept]
    assert len(engine) == N_DOCUMENTS - 4
    check(engine.search(queries, K), queries, documents[kept], left, engine.limits, K)
    engine.delete(IDS[1])  # a single string is one id
    engine.add([IDS[0], IDS[1]], documents[[5, 1]])  # an id comes back, with another vector
    check(
        engine.search(queries, N_DOCUMENTS),
        queries,
        documents[[*kept[1:], 5, 1]],
        [*left[1:], IDS[0], IDS[1]],
        engine.limits,
        N_DOCUMENTS,
    )
    engine.delete([*left[1:], IDS[0], IDS[1]])
    assert len(engine) == 0 and engine.search(queries, K).ids == [[]] * 7


def test_add_after_search(engine: VectorEngine, documents: SparseRows, queries: SparseRows) -> None:
    engine.add(IDS[:30], documents[:30])
    engine.search(queries, K)
    if not engine.limits.grows:
        with pytest.raises(InputError, match="final"):
            engine.add(IDS[30:], documents[30:])
        check(engine.search(queries, K), queries, documents[:30], IDS[:30], engine.limits, K)
        return
    engine.add(IDS[30:], documents[30:])
    check(engine.search(queries, K), queries, documents, IDS, engine.limits, K)


def test_what_is_refused_leaves_it_as_it_was(engine: VectorEngine, documents: SparseRows, queries: SparseRows) -> None:
    engine.add(IDS[:10], documents[:10])
    wider = SparseRows.from_dicts([{1: 1.0}], N_LATENTS + 1)
    for ids, rows, error, message in (
        (["x", IDS[3]], documents[:2], InputError, "is in the index already; delete it first"),
        (["x", "x"], documents[:2], InputError, "'x' is there twice"),
        (["x", ""], documents[:2], InputError, "not ''"),
        (["x"], documents[:2], InputError, "1 ids for 2 vectors"),
        (["x"], wider, MismatchError, "70000 latents, these 70001"),
        (["x"], SparseRows.from_dicts([{1: -1.0}], N_LATENTS), InputError, "finite and not negative"),
        (["x"], SparseRows.from_dicts([{1: float("nan")}], N_LATENTS), InputError, "finite and not negative"),
        (["x"], SparseRows.from_dicts([{1: float("inf")}], N_LATENTS), InputError, "finite and not negative"),
    ):
        with pytest.raises(error, match=message):
            engine.add(ids, rows)
    if engine.limits.weight is not None:
        heavy = SparseRows.from_dicts([{1: 1.1 * engine.limits.weight}], N_LATENTS)
        with pytest.raises(InputError, match="the heaviest weight"):
            engine.add(["x"], heavy)
    if engine.limits.deletes:
        with pytest.raises(InputError, match="'y' is not in the index; nothing was deleted"):
            engine.delete([IDS[0], "y"])
    with pytest.raises(MismatchError, match="70000 latents, these 70001"):
        engine.search(wider, K)
    with pytest.raises(InputError, match="at least 1, not 0"):
        engine.search(queries, 0)
    with pytest.raises(InputError, match="query vector: weights must be finite"):
        engine.search(SparseRows.from_dicts([{1: float("nan")}], N_LATENTS), K)
    assert len(engine) == 10
    check(engine.search(queries, K), queries, documents[:10], IDS[:10], engine.limits, K)


def test_closing_twice_and_what_comes_after(engine: VectorEngine, documents: SparseRows, queries: SparseRows) -> None:
    engine.add(IDS, documents)
    engine.search(queries, K)
    engine.close()
    engine.close()
    with pytest.raises(SaelexError, match="closed"):
        engine.search(queries, K)
    with pytest.raises(SaelexError, match="closed"):
        engine.add(["x"], documents[:1])
    if engine.limits.deletes:
        with pytest.raises(SaelexError, match="closed"):
            engine.delete([IDS[0]])


def test_a_query_against_a_concept(engine: VectorEngine, documents: SparseRows, queries: SparseRows) -> None:
    engine.add(IDS, documents)
    against = queries[:1].with_weights(queries[:1].weights * np.where(np.arange(queries[:1].n_nonzero) % 3, 1, -0.5))
    if not engine.limits.negative_queries:
        with pytest.raises(InputError, match="takes no negative weights"):
            engine.search(against, K)
        return
    check(engine.search(against, K), against, documents, IDS, engine.limits, K)


def test_one_on_disk_is_there_again(tmp_path: Path, documents: SparseRows, queries: SparseRows) -> None:
    with closing(InvertedIndex.create(tmp_path / "engine", N_LATENTS)) as engine:
        engine.add(IDS, documents)
        engine.delete(IDS[:5])
        engine.merge()
    with pytest.raises(InputError, match="exists already"):
        InvertedIndex.create(tmp_path / "engine", N_LATENTS)
    with pytest.raises(InputError, match="nowhere"):
        InvertedIndex.open(tmp_path / "nowhere")
    with closing(InvertedIndex.open(tmp_path / "engine")) as again:
        assert len(again) == N_DOCUMENTS - 5 and again.n_latents == N_LATENTS
        check(again.search(queries, K), queries, documents[5:], IDS[5:], again.limits, K)


@pytest.mark.parametrize("name", PLACES)
def test_a_collection_is_there_again(name: str, places: Places, documents: SparseRows, queries: SparseRows) -> None:
    url = places(name)
    with closing(store(url)) as engine:
        engine.add(IDS, documents)
        engine.delete(IDS[:5])
    with pytest.raises(InputError, match="exists already"):
        store(url)
    parsed = EngineUrl.parse(url)
    with closing(store_class(parsed).open(parsed)) as again:
        assert len(again) == N_DOCUMENTS - 5 and again.n_latents == N_LATENTS
        check(again.search(queries, K), queries, documents[5:], IDS[5:], again.limits, K)
        places.restart(name)
        check(again.search(queries, K), queries, documents[5:], IDS[5:], again.limits, K)
        again.add(IDS[:5], documents[:5])
        check(again.search(queries, K), queries, documents[[*range(5, N_DOCUMENTS), *range(5)]], [*IDS[5:], *IDS[:5]],
              again.limits, K)  # fmt: skip
    gone = EngineUrl.parse(places(name))
    with pytest.raises(InputError, match="no such collection; `saelex push INDEX"):
        store_class(gone).open(gone)


@pytest.mark.slow
@pytest.mark.parametrize("name", PLACES)
def test_two_thousand_documents_of_131072_latents(name: str, places: Places) -> None:
    rows = next(synthetic.documents(2000))
    questions = synthetic.queries(20, 2000)
    url = EngineUrl.parse(places(name))
    with closing(store_class(url).create(url, synthetic.N_LATENTS)) as engine:
        ids = [f"d{i}" for i in range(2000)]
        engine.add(ids, rows)
        assert len(engine) == 2000
        check(engine.search(questions, K), questions, rows, ids, engine.limits, K)


PACKAGES = {
    "qdrant+local:///tmp/x/notes": ("qdrant_client", "qdrant"),
    "qdrant+edge:///tmp/x/notes": ("qdrant_edge", "qdrant"),
    "milvus://localhost/notes": ("pymilvus", "milvus"),
    "postgresql://localhost/base/notes": ("psycopg", "postgresql"),
    "seekdb://localhost/test/notes": ("pymysql", "seekdb"),
}


@pytest.mark.parametrize("url", PACKAGES)
def test_a_missing_package_is_one_line(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package, extra = PACKAGES[url]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"install it with: .*pip install 'saelex\[{extra}\]'"):
        store(url)


def test_seismic_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "seismic", None)
    with pytest.raises(InputError, match=r"install it with: .*pip install 'saelex\[seismic\]'"):
        SeismicEngine(N_LATENTS)
