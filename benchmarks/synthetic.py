"""Synthetic sparse vectors with the shape of SAE codes: a Zipf background, topics, a fixed seed, any number of rows.

Every document has its own random stream (a hash of seed and document number), so that the collection does not depend
on how it is cut into chunks, and a query can be drawn from a document that is no longer in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from saelex.vectors import SparseRows

N_LATENTS = 131_072
N_TOPICS, TOPIC_LATENTS = 2_000, 1_500
SMALLEST, LARGEST = 200, 399  # non-zeros of a document, uniform
QUERY_NON_ZEROS = 40
QUERY_SHARES = (0.50, 0.35)  # from a random document, from that document's topics; the rest is background
SOURCES = 200_000  # queries are drawn from the first documents, so that 200,000 and 1,000,000 share their queries
BACKGROUND_SHARE, BACKGROUND_SHIFT = 0.25, 30.0  # a draw takes rank r with probability ~ 1 / (r + shift)
TOPIC_SHIFT = 20.0
POPULARITY_SIGMA = 1.5


def topics(seed: int) -> NDArray[np.int32]:
    """[N_TOPICS, TOPIC_LATENTS]: each topic's latents, its most typical first; popular latents are in more topics."""
    generator = np.random.default_rng(seed)
    popularity = np.cumsum(generator.lognormal(sigma=POPULARITY_SIGMA, size=N_LATENTS))
    table = np.empty((N_TOPICS, TOPIC_LATENTS), np.int32)
    for row in table:
        drawn = np.searchsorted(popularity, generator.random(4 * TOPIC_LATENTS) * popularity[-1], side="right")
        row[:] = generator.permutation(np.unique(drawn))[:TOPIC_LATENTS]
    return table


def documents(n_rows: int, seed: int = 0, chunk: int = 50_000) -> Iterator[SparseRows]:
    """Chunks of documents, in order."""
    table = topics(seed)
    for first in range(0, n_rows, chunk):
        indptr, latents, weights = _documents(first, min(first + chunk, n_rows), seed, table)
        yield SparseRows(indptr, latents, weights, N_LATENTS)


def queries(n_rows: int, n_documents: int, seed: int = 0) -> SparseRows:
    """Queries of 40 latents: half of a random document's own, 35% of its topics, 15% background."""
    latents, weights = _queries(n_rows, min(n_documents, SOURCES), seed, topics(seed))
    return SparseRows(
        np.arange(n_rows + 1, dtype=np.int64) * QUERY_NON_ZEROS, latents.ravel(), weights.ravel(), N_LATENTS
    )


def histogram(document_frequencies: NDArray[np.int64], n_documents: int) -> list[tuple[str, int]]:
    """Latents by document frequency, in powers of four: [("1-3", latents), ...]."""
    edges = [0, 1]
    while edges[-1] <= n_documents:
        edges.append(edges[-1] * 4)
    counts, _ = np.histogram(document_frequencies, edges)
    return [
        (f"{low}-{high - 1}" if high > low + 1 else f"{low}", int(count))
        for low, high, count in zip(edges, edges[1:], counts)
        if count
    ]


State: TypeAlias = NDArray[np.uint64]  # [1]
Function = TypeVar("Function", bound=Callable[..., Any])
compiled: Callable[[Function], Function] = njit(cache=True)


@compiled
def _next(state: State) -> np.uint64:  # splitmix64
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.uint64 = z ^ (z >> np.uint64(31))
    return mixed


@compiled
def _uniform(state: State) -> float:  # in (0, 1]
    number: float = (np.float64(_next(state) >> np.uint64(11)) + 1.0) * 2.0**-53
    return number


@compiled
def _below(state: State, n: int) -> int:
    number: int = np.int64(_next(state) % np.uint64(n))
    return number


@compiled
def _rank(state: State, n: int, shift: float) -> int:
    """A rank in 0..n-1 with probability ~ 1 / (rank + shift), by inverting the continuous distribution."""
    rank: int = np.int64(shift * ((n + shift) / shift) ** _uniform(state) - shift)
    return min(max(rank, 0), n - 1)


@compiled
def _weight(state: State) -> np.float32:  # log1p of a gamma variable of shape 2
    weight: np.float32 = np.float32(np.log1p(-np.log(_uniform(state)) - np.log(_uniform(state))))
    return weight


@compiled
def _start(state: State, seed: int, stream: int, number: int) -> None:
    state[0] = np.uint64(seed) * np.uint64(0xD1342543DE82EF95) + np.uint64(stream)
    _next(state)
    state[0] ^= np.uint64(number) * np.uint64(0x2545F4914F6CDD1D)
    _next(state)


@compiled
def _document(
    number: int,
    seed: int,
    table: NDArray[np.int32],
    seen: NDArray[np.bool_],
    state: State,
    own_topics: NDArray[np.int64],
    latents: NDArray[np.int32],
) -> tuple[int, int]:
    """Fills `latents` with one document's, sorted; returns how many topics and how many latents it has."""
    _start(state, seed, 1, number)
    n_topics = 1 + _below(state, 4)
    for i in range(n_topics):
        own_topics[i] = _below(state, N_TOPICS)
    wanted = SMALLEST + _below(state, LARGEST - SMALLEST + 1)
    found = 0
    while found < wanted:
        if _uniform(state) <= BACKGROUND_SHARE:
            latent = np.int32(_rank(state, N_LATENTS, BACKGROUND_SHIFT))
        else:
            latent = table[own_topics[_below(state, n_topics)], _rank(state, TOPIC_LATENTS, TOPIC_SHIFT)]
        if not seen[latent]:
            seen[latent] = True
            latents[found] = latent
            found += 1
    for i in range(found):
        seen[latents[i]] = False
    latents[:found].sort()
    return n_topics, found


@compiled
def _documents(
    first: int, last: int, seed: int, table: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    seen = np.zeros(N_LATENTS, np.bool_)
    state = np.zeros(1, np.uint64)
    own_topics = np.zeros(4, np.int64)
    indptr = np.zeros(last - first + 1, np.int64)
    latents = np.empty((last - first) * LARGEST, np.int32)
    weights = np.empty((last - first) * LARGEST, np.float32)
    for number in range(first, last):
        at = indptr[number - first]
        _, found = _document(number, seed, table, seen, state, own_topics, latents[at : at + LARGEST])
        for i in range(at, at + found):
            weights[i] = _weight(state)
        indptr[number - first + 1] = at + found
    return indptr, latents[: indptr[-1]].copy(), weights[: indptr[-1]].copy()


@compiled
def _queries(
    n_rows: int, n_sources: int, seed: int, table: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    seen = np.zeros(N_LATENTS, np.bool_)
    state, own = np.zeros(1, np.uint64), np.zeros(1, np.uint64)
    own_topics = np.zeros(4, np.int64)
    source = np.empty(LARGEST, np.int32)
    latents = np.empty((n_rows, QUERY_NON_ZEROS), np.int32)
    weights = np.empty((n_rows, QUERY_NON_ZEROS), np.float32)
    for row in range(n_rows):
        _start(state, seed, 2, row)
        n_topics, size = _document(_below(state, n_sources), seed, table, seen, own, own_topics, source)
        found = 0
        while found < QUERY_NON_ZEROS:
            if found < QUERY_SHARES[0] * QUERY_NON_ZEROS:
                latent = source[_below(state, size)]
            elif found < (QUERY_SHARES[0] + QUERY_SHARES[1]) * QUERY_NON_ZEROS:
                latent = table[own_topics[_below(state, n_topics)], _rank(state, TOPIC_LATENTS, TOPIC_SHIFT)]
            else:
                latent = np.int32(_rank(state, N_LATENTS, BACKGROUND_SHIFT))
            if not seen[latent]:
                seen[latent] = True
                latents[row, found] = latent
                found += 1
        for i in range(found):
            seen[latents[row, i]] = False
            weights[row, i] = _weight(state)
        latents[row].sort()
    return latents, weights
