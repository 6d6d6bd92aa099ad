"""What a system costs its users: latents and postings a search reads, latency, encoding speed, bytes, use of latents.

Counts come from the vectors alone. Times are of one query at a time, after a pass that warms caches and files up.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from saelex.encoder.settings import DEFAULT, Side, TopKChoice
from saelex.errors import InputError
from saelex.evaluation.efficiency import activation_shares, gini, mean_active, mean_postings, qd_flops
from saelex.index.inverted import InvertedIndex
from saelex.vectors import SparseRows

if TYPE_CHECKING:
    from saelex.encoder.encoder import Encoder
    from saelex.index.index import Index
    from saelex.index.request import Mode

MOST_QUERIES = 1000
"""Queries that are timed, evenly spaced over those there are: more would not move a percentile that is reported."""

MOST_ENCODED: dict[Side, int] = {"query": 32, "document": 64}
"""Texts of either side whose encoding is timed: a few seconds, and more of the encoder's batches than one."""

_Query = TypeVar("_Query")


@dataclass(frozen=True)
class Latency:
    """How long one query takes, in milliseconds, each timed once after a warm-up pass, one after the other.

    k, mode: hits asked for, and how the index searched. cores: those that one query may use. queries: how many were
    timed.
    """

    p50: float
    p95: float
    p99: float
    k: int
    mode: Mode
    cores: int
    queries: int

    @classmethod
    def of(cls, milliseconds: NDArray[np.float64], k: int, mode: Mode, cores: int) -> Latency:
        """Percentiles with linear interpolation (numpy's default) of [queries] times."""
        p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99]).tolist()
        return cls(p50, p95, p99, k, mode, cores, len(milliseconds))


@dataclass(frozen=True)
class Costs:
    """What one system costs on one collection; None where it was not measured.

    query_active, document_active: active columns of a mean query and of a mean passage, words included where they
        count.
    qd_flops: columns that a random query and a random passage share (see `efficiency.qd_flops`).
    postings: those that exact search reads for a mean query.
    latency_ms: of searching with a vector. end_to_end_ms: of searching with a text, which is encoded first.
    encode_documents_per_s, encode_queries_per_s: texts, in batches (see `encode_throughput`).
    index_bytes_per_document: of all files of the index.
    latents_used: share of the latents that are active in any passage, from 0 to 1; words are not latents.
    df_gini: Gini coefficient of the latents' document frequencies, those never used included.
    """

    query_active: float
    document_active: float
    qd_flops: float
    postings: float
    latency_ms: Latency | None
    encode_documents_per_s: float | None
    encode_queries_per_s: float | None
    index_bytes_per_document: float | None
    latents_used: float
    df_gini: float
    end_to_end_ms: Latency | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Costs:
        """What `to_json` gave."""
        latencies: dict[str, Any] = {
            name: None if values.get(name) is None else Latency(**values[name])
            for name in ("latency_ms", "end_to_end_ms")
        }
        return cls(**{**values, **latencies})


def vector_costs(queries: SparseRows, passages: SparseRows, n_latents: int | None = None) -> Costs:
    """The costs that vectors alone tell; the others are None.

    n_latents: columns that are latents, where words stand after them; None: all are. Raises InputError where a side has
    no rows, the sides differ in columns, or there are fewer columns than latents.
    """
    n_latents = passages.n_latents if n_latents is None else n_latents
    if not 0 < n_latents <= passages.n_latents:
        raise InputError(f"costs: {n_latents} latents in vectors of {passages.n_latents} columns; use one encoder")
    of_latents = activation_shares(passages)[:n_latents]
    return Costs(
        query_active=mean_active(queries),
        document_active=mean_active(passages),
        qd_flops=qd_flops(queries, passages),
        postings=mean_postings(queries, passages),
        latency_ms=None,
        encode_documents_per_s=None,
        encode_queries_per_s=None,
        index_bytes_per_document=None,
        latents_used=float(np.mean(of_latents > 0)),
        df_gini=gini(of_latents),
    )


def measure_costs(
    queries: SparseRows,
    passages: SparseRows,
    *,
    n_latents: int | None = None,
    n_documents: int | None = None,
    k: int = 10,
    mode: Mode = "exact",
) -> Costs:
    """`vector_costs`, and latency and bytes of an index of these passages, made in a temporary folder.

    Its segments are as large as a merge makes them. It keeps forward rows, as indexes do by default, but no texts: the
    bytes are those of searching. Encoding is not measured here (see `encode_throughput`, `end_to_end_latency`).

    n_documents: what the bytes are divided by, where documents are split into passages. Raises InputError as
    `vector_costs` does.
    """
    from saelex.index.disk.building import MOST_ROWS  # loads compiled code

    costs = vector_costs(queries, passages, n_latents)
    plain = in_memory(passages)
    with tempfile.TemporaryDirectory(prefix="saelex-costs-") as scratch:
        folder = Path(scratch) / "index"
        with InvertedIndex.create(folder, passages.n_latents, pruned=mode != "exact") as index:
            for first in range(0, len(plain), MOST_ROWS):
                part = plain[first : first + MOST_ROWS]
                index.add([str(first + row) for row in range(len(part))], part)
            latency = search_latency(index, queries, k, mode)
        size = folder_bytes(folder)
    return replace(costs, latency_ms=latency, index_bytes_per_document=size / (n_documents or len(passages)))


def search_latency(index: InvertedIndex, queries: SparseRows, k: int = 10, mode: Mode = "exact") -> Latency:
    """Of searching with vectors, on one core: vector in, ids and scores out. Raises InputError without queries."""
    times = time_queries(lambda row: index.search(queries[row : row + 1], k, mode), range(len(queries)))
    return Latency.of(times, k, mode, cores=1)


def end_to_end_latency(
    index: Index, texts: Sequence[str], k: int = 10, mode: Mode = "exact", *, words: bool = True
) -> Latency:
    """Of `Index.search`: text in, documents out. The encoder may use all of torch's threads.

    At most 32 queries are timed (`MOST_ENCODED`), none of them blank. Raises InputError where there are no others.
    """
    import torch

    asked = [text for text in texts if text.strip()]
    times = time_queries(lambda text: index.search(text, k, mode=mode, words=words), asked, MOST_ENCODED["query"])
    return Latency.of(times, k, mode, cores=torch.get_num_threads())


def encode_throughput(
    encoder: Encoder, texts: Sequence[str], side: Side, *, top_k: TopKChoice = DEFAULT, at_most: int | None = None
) -> float:
    """Texts per second of encoding `at_most` of them, evenly spaced, in the encoder's own batches.

    The first eight are encoded once before, untimed, so that all is loaded and warm. The encoder may use all of torch's
    threads. at_most: None is `MOST_ENCODED` of the side. Raises InputError without texts.
    """
    chosen = evenly(texts, MOST_ENCODED[side] if at_most is None else at_most)
    if not chosen:
        raise InputError("encode throughput: no texts to time")
    encoder.encode(chosen[:8], side=side, top_k=top_k)
    start = time.perf_counter()
    encoder.encode(chosen, side=side, top_k=top_k)
    return len(chosen) / (time.perf_counter() - start)


def time_queries(
    search: Callable[[_Query], object], queries: Sequence[_Query], at_most: int = MOST_QUERIES
) -> NDArray[np.float64]:
    """Milliseconds of `search` on every query (evenly spaced ones of more than `at_most`), after a pass over all.

    Raises InputError without queries.
    """
    chosen = evenly(queries, at_most)
    if not chosen:
        raise InputError("latency: no queries to time")
    for query in chosen:
        search(query)
    times = np.empty(len(chosen))
    for i, query in enumerate(chosen):
        start = time.perf_counter()
        search(query)
        times[i] = 1e3 * (time.perf_counter() - start)
    return times


def evenly(items: Sequence[_Query], at_most: int) -> list[_Query]:
    """At most so many of the items, evenly spaced, in their order."""
    if len(items) <= at_most:
        return list(items)
    return [items[i * len(items) // at_most] for i in range(at_most)]


def folder_bytes(folder: str | Path) -> int:
    """Bytes of all files in a folder and those below it."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def in_memory(rows: SparseRows) -> SparseRows:
    """The same rows as plain arrays, without positions: the index's compiled code takes no memory maps."""
    indptr, latents, weights = map(np.ascontiguousarray, (rows.indptr, rows.latents, rows.weights))
    return SparseRows(indptr, latents, weights, rows.n_latents)
