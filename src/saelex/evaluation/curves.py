"""The knobs of a sparse system as curves: what is kept of queries and documents, and what searching faster misses.

All from vectors that are encoded once: another Top-K only cuts them, another search mode only prunes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from saelex.errors import InputError
from saelex.evaluation.costs import Latency, evenly, in_memory, time_queries
from saelex.evaluation.encoded import EncodedCollection, Measured, TopK, mean_measured
from saelex.index.quantise import Quantiser
from saelex.progress import progress_bar
from saelex.top_k import TopKSetting
from saelex.vectors import SparseRows

if TYPE_CHECKING:
    from saelex.index.modes import SegmentView, TopRows
    from saelex.index.request import Mode

DEPTHS = (10, 100)
"""Recall of the exact top 10 and top 100."""

# ---- quality: what is kept of the vectors ---------------------------------------------------------------------------


class QualityPoint(NamedTuple):
    """Exact search at one Top-K: latents kept of a query and of a passage (None: all), and what came of it."""

    top_k: TopK
    measured: Measured

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        query, document = self.top_k
        return {"query_top_k": query, "document_top_k": document, **self.measured._asdict()}


@dataclass(frozen=True)
class QualityCurve:
    """One system at several Top-K.

    points: means over the collections, each counting alike. collections: the same points of every collection.
    """

    system: str
    points: list[QualityPoint]
    collections: dict[str, list[QualityPoint]]

    @classmethod
    def of(cls, system: str, collections: dict[str, list[QualityPoint]]) -> QualityCurve:
        """Raises InputError without collections."""
        if not collections:
            raise InputError("a curve is measured on at least one collection")
        means = [
            QualityPoint(points[0].top_k, mean_measured([point.measured for point in points]))
            for points in zip(*collections.values())
        ]
        return cls(system, means, collections)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "system": self.system,
            "points": [point.to_json() for point in self.points],
            "collections": {name: [one.to_json() for one in points] for name, points in self.collections.items()},
        }


def top_k_grid(
    encoded: EncodedCollection,
    query_top_ks: Sequence[TopKSetting],
    document_top_ks: Sequence[TopKSetting],
    word_scale: float | None = None,
    *,
    progress: bool = False,
) -> list[QualityPoint]:
    """Every Top-K of queries with every one of documents, in the order given, documents outside.

    Values equal `EncodedCollection.measured`'s; each cut of the documents is made once. One Top-K of queries makes it
    static pruning of documents: cut to their heaviest latents.

    word_scale: what words count beside the latents; None is concepts alone. Raises InputError for a k below 1.
    """
    points: list[QualityPoint] = []
    bar = progress_bar(total=len(query_top_ks) * len(document_top_ks), desc="top-k", unit="cut", shown=progress)
    with bar:
        for document_k in document_top_ks:
            cut = replace(encoded, passages=encoded.passages.top_k(document_k))
            for query_k in query_top_ks:
                points.append(QualityPoint((query_k, document_k), cut.measured((query_k, None), word_scale)))
                bar.update()
    return points


def frontier(points: Iterable[QualityPoint], measure: str) -> list[QualityPoint]:
    """The points that no other beats: by ascending QD-FLOPs, each better than all that cost less.

    Of equal costs the best counts. Raises InputError for a measure that the points do not have.
    """
    listed = list(points)
    if any(measure not in point.measured.measures for point in listed):
        raise InputError(f"no measure {measure!r}; there are {', '.join(listed[0].measured.measures)}")
    best: list[QualityPoint] = []
    for point in sorted(listed, key=lambda one: (_flops(one), -one.measured.measures[measure])):
        if not best or point.measured.measures[measure] > best[-1].measured.measures[measure]:
            best.append(point)
    return best


def _flops(point: QualityPoint) -> float:
    flops = point.measured.qd_flops
    assert flops is not None  # points are of sparse vectors
    return flops


# ---- speed: what capped and two-step search miss --------------------------------------------------------------------


@dataclass(frozen=True)
class LatencyPoint:
    """One way to search one collection.

    knob, value: what was turned, and to what; knob "" is the mode as an index has it, without a value.
    recall: share of the exact top k that is found, mean over queries that have any. postings: read for a mean query;
        scoring candidates exactly reads none.
    latency: of searching with a vector on one core, at its own k and mode.
    """

    knob: str
    value: int | None
    recall: float
    postings: float
    latency: Latency

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


class _Way(NamedTuple):
    mode: Mode
    knob: str
    value: int | None
    views: Sequence[SegmentView]
    options: dict[str, int]


def recall_latency(
    queries: SparseRows,
    passages: SparseRows,
    *,
    depths: Sequence[int] = DEPTHS,
    caps: Sequence[int] = (64, 128, 256, 512, 1024, 2048),
    query_terms: Sequence[int] = (2, 4, 8, 16, 32),
    document_terms: Sequence[int] = (16, 32, 64, 128),
    candidates: Sequence[int] = (4, 8, 16, 32),
    at_most: int = 1000,
    progress: bool = False,
) -> list[LatencyPoint]:
    """Recall of the exact top k passages against latency, for the `capped` and `two_step` searches of an index.

    One knob is turned at a time, the others stay as an index has them: caps (postings read of a column, at most),
    query_terms and document_terms (what Two-Step SPLADE's first step keeps), and candidates (rows scored exactly, in
    multiples of k). First come exact search and both modes as they are. Segments, in memory, are those of a merged
    index; the time counts integers out of the query's floats and the search, not ids.

    depths: the values of k. at_most: queries, evenly spaced. Raises InputError where a side has no rows.
    """
    if not len(queries) or not len(passages):
        raise InputError("recall against latency: no queries or no passages to search")
    quantiser, views = _segments(in_memory(passages))
    asked = [queries.row(row) for row in evenly(range(len(queries)), at_most)]
    knobs = _Knobs(caps, query_terms, document_terms, candidates)
    points: list[LatencyPoint] = []
    truth: dict[int, list[TopRows]] = {}
    with progress_bar(total=knobs.n_ways * len(depths), desc="latency", unit="way", shown=progress) as bar:
        for k in depths:
            for way in _ways(views, knobs, k):
                search = _searcher(way, quantiser, k)
                found = [search(query) for query in asked]
                truth.setdefault(k, found)  # exact search comes first
                latency = Latency.of(time_queries(search, asked, at_most), k, way.mode, cores=1)
                postings = float(np.mean([one.postings for one in found]))
                points.append(LatencyPoint(way.knob, way.value, _recall(found, truth[k]), postings, latency))
                bar.update()
    return points


class _Knobs(NamedTuple):
    caps: Sequence[int]
    query_terms: Sequence[int]
    document_terms: Sequence[int]
    candidates: Sequence[int]

    @property
    def n_ways(self) -> int:
        return 3 + len(self.caps) + len(self.query_terms) + len(self.document_terms) + 2 * len(self.candidates)


def _segments(passages: SparseRows) -> tuple[Quantiser, list[SegmentView]]:
    """What an index of these passages searches."""
    from saelex.index.disk.building import MOST_ROWS, build_segment
    from saelex.index.modes import SegmentView

    quantiser = Quantiser.for_weights(passages.weights, bits=16)
    views = []
    for first in range(0, len(passages), MOST_ROWS):
        part = passages[first : first + MOST_ROWS]
        numbers = np.arange(first, first + len(part), dtype=np.int64)
        arrays = build_segment(quantiser.documents(part), part.n_latents, numbers, numbers, forward=True, pruned=True)
        pruned = arrays.forward, arrays.capped, arrays.first_step
        views.append(SegmentView(arrays.postings, first, len(part), None, *pruned))
    return quantiser, views


def _ways(views: list[SegmentView], knobs: _Knobs, k: int) -> Iterator[_Way]:
    from saelex.index.disk.pruning import first_step_postings
    from saelex.index.kernels.arrays import ForwardRows, Postings
    from saelex.index.kernels.build import cap_postings

    yield _Way("exact", "", None, views, {})
    yield _Way("capped", "", None, views, {})
    yield _Way("two_step", "", None, views, {})
    for cap in knobs.caps:
        cut = []
        for view in views:
            assert isinstance(view.postings, Postings)  # in memory
            cut.append(replace(view, capped=cap_postings(view.postings, cap)))
        yield _Way("capped", "cap", cap, cut, {})
    for terms in knobs.query_terms:
        yield _Way("two_step", "query_terms", terms, views, {"query_terms": terms})
    for terms in knobs.document_terms:
        cut = []
        for view in views:
            assert isinstance(view.postings, Postings) and isinstance(view.forward, ForwardRows)
            first_step = first_step_postings(view.forward, view.postings.n_columns, terms)
            cut.append(replace(view, first_step=first_step))
        yield _Way("two_step", "document_terms", terms, cut, {})
    modes: tuple[Mode, ...] = ("capped", "two_step")
    for mode in modes:
        for times in knobs.candidates:
            yield _Way(mode, "candidates", times * k, views, {"candidates": times * k})


def _searcher(way: _Way, quantiser: Quantiser, k: int) -> Callable[[tuple[Any, Any]], TopRows]:
    """Latents and weights in, rows and scores out."""
    from saelex.index.modes import search_capped, search_exact, search_two_step

    modes: dict[Mode, Callable[..., TopRows]]
    modes = {"exact": search_exact, "capped": search_capped, "two_step": search_two_step}
    search = partial(modes[way.mode], way.views, **way.options)

    def searched(query: tuple[Any, Any]) -> TopRows:
        integers = quantiser.query(*query)
        return search(integers.latents, integers.weights, k=k)

    return searched


def _recall(found: Sequence[TopRows], truth: Sequence[TopRows]) -> float:
    shares = [
        len(np.intersect1d(one.rows, exact.rows)) / len(exact.rows)
        for one, exact in zip(found, truth)
        if len(exact.rows)
    ]
    return float(np.mean(shares)) if shares else 1.0
