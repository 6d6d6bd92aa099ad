"""The engine protocol: sparse vectors in under string ids, the best of them out; and what an engine caps.

`InvertedIndex` is the first member, the others are in `saelex.engines`. One suite of tests holds for all of them.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from saelex.errors import InputError, MismatchError, SaelexError
from saelex.vectors import SparseRows


class Hits(NamedTuple):
    """What a search found, one entry a query, best first: vectors with a score above zero, at most k."""

    ids: list[list[str]]
    scores: list[NDArray[np.float64]]
    postings: list[int] | None = None
    """Postings read: what the search cost; None where the engine does not tell."""


@dataclass(frozen=True)
class Limits:
    """What an engine caps, and how exact it is; None: no cap below what SparseRows can hold.

    n_latents: most columns. n_nonzero: most active latents of one vector. weight: the heaviest that it can store.
    document_error: how far a stored weight may be off, as a share of the heaviest one stored; 0: it is kept as it is.
    query_error: how far a query's weight may be off, as a share of the sum of the query's absolute weights.
    finds_all: whether the k best are found, and not most of them: recall 1.
    negative_queries: whether a query's weights may be negative.
    deletes: whether vectors can be deleted. grows: whether vectors can be added after the first search.
    """

    n_latents: int | None = None
    n_nonzero: int | None = None
    weight: float | None = None
    document_error: float = 0.0
    query_error: float = 0.0
    finds_all: bool = True
    negative_queries: bool = True
    deletes: bool = True
    grows: bool = True


class VectorEngine(Protocol):
    """An open collection of sparse vectors. What it refuses is one SaelexError, and leaves it as it was.

    Ids are strings that are not empty; an engine whose own ids are of another kind maps them. Weights of documents are
    finite and not negative, those of queries finite. Scores are dot products within `limits`, in float32 or better.
    """

    @property
    def n_latents(self) -> int:
        """Columns of its vectors."""

    @property
    def limits(self) -> Limits:
        """What it caps."""

    def __len__(self) -> int:
        """Vectors that it holds, empty ones included."""

    def add(self, ids: Sequence[str], vectors: SparseRows) -> None:
        """Add a batch of vectors, all of it or nothing.

        Raises InputError for an id that is there already or twice in the batch, and for what `limits` rules out;
        MismatchError for vectors with another number of latents.
        """

    def delete(self, ids: Iterable[str]) -> None:
        """Delete vectors by id. Raises InputError, and deletes none, when an id is not there or `limits` rules it out.

        A single string is one id.
        """

    def search(self, queries: SparseRows, k: int = 10) -> Hits:
        """The k best vectors for each query row. Raises MismatchError for queries with another number of latents."""

    def close(self) -> None:
        """Let go of all files and memory. Closing twice is allowed; anything else afterwards is a SaelexError."""


# ---- what every member checks, in the same words --------------------------------------------------------------------


def check_columns(n_latents: int, limits: Limits) -> None:
    """Raises InputError for a number of columns that the engine cannot have."""
    if n_latents < 1:
        raise InputError(f"an index needs at least one latent, not {n_latents}")
    _check_cap("latents", n_latents, limits.n_latents)


def check_documents(engine: VectorEngine, ids: Sequence[str], vectors: SparseRows) -> None:
    """What is to be added, but for ids that are taken. Raises InputError or MismatchError as `VectorEngine.add`."""
    _check_latents(engine, vectors)
    if len(ids) != len(vectors):
        raise InputError(f"{len(ids)} ids for {len(vectors)} vectors; give one id for each")
    check_unique(ids)
    check_weights(vectors)
    _check_cap("active latents in one vector", int(vectors.lengths.max(initial=0)), engine.limits.n_nonzero)
    _check_cap("the heaviest weight", float(vectors.weights.max(initial=0.0)), engine.limits.weight)


def check_queries(engine: VectorEngine, queries: SparseRows, k: int) -> None:
    """Raises InputError or MismatchError for what no engine can search with."""
    _check_latents(engine, queries)
    if k < 1:
        raise InputError(f"k is the number of hits wanted, at least 1, not {k}")
    if not np.isfinite(queries.weights).all():
        raise InputError("query vector: weights must be finite")
    if not engine.limits.negative_queries and queries.n_nonzero and queries.weights.min() < 0:
        raise InputError("query vector: this engine takes no negative weights")


def check_weights(vectors: SparseRows) -> None:
    """Raises InputError for a weight of a document that is negative or not finite, or a latent outside the columns."""
    latents, weights = vectors.latents, vectors.weights
    if weights.size and not (latents.min() >= 0 and latents.max() < vectors.n_latents):
        raise InputError(f"document vectors: a latent lies outside 0..{vectors.n_latents - 1}")
    if weights.size and not (weights.min() >= 0 and weights.max() < np.inf):
        raise InputError("document vectors: weights must be finite and not negative")


def check_unique(ids: Sequence[str]) -> None:
    """Raises InputError for an id that is empty, no string, or there twice."""
    seen: set[str] = set()
    for name in ids:
        if not isinstance(name, str) or not name:
            raise InputError(f"an id is a string that is not empty, not {name!r}")
        if name in seen:
            raise InputError(f"id {name!r} is there twice; ids must be unique")
        seen.add(name)


def check_new(ids: Iterable[str], taken: Container[str]) -> None:
    """Raises InputError for an id that is taken."""
    for name in ids:
        if name in taken:
            raise InputError(f"id {name!r} is in the index already; delete it first")


def check_known(ids: Iterable[str], known: Container[str]) -> None:
    """Raises InputError for an id that is to be deleted and is not there."""
    for name in ids:
        if name not in known:
            raise InputError(f"id {name!r} is not in the index; nothing was deleted")


def distinct(ids: Iterable[str]) -> list[str]:
    """Each id once; a single string is one id. Raises InputError for what is no list of ids."""
    given: Any = ids
    if isinstance(given, bytes) or not isinstance(ids, Iterable):
        raise InputError(f"ids come in a list, not in a {type(ids).__name__}")
    asked = [ids] if isinstance(ids, str) else list(ids)
    for name in asked:
        if not isinstance(name, str):
            raise InputError(f"an id is a string, not {name!r}")
    return list(dict.fromkeys(asked))


def closed(engine: VectorEngine) -> SaelexError:
    """The error for what is asked of an engine that is closed."""
    return SaelexError(f"{engine!r}: the index is closed; open or make it again")


def _check_latents(engine: VectorEngine, vectors: SparseRows) -> None:
    if vectors.n_latents != engine.n_latents:
        raise MismatchError(
            f"{engine!r}: its vectors have {engine.n_latents} latents, these {vectors.n_latents}; "
            "use the encoder that the index was made with"
        )


def _check_cap(what: str, value: float, cap: float | None) -> None:
    if cap is not None and value > cap:
        raise InputError(f"{what}: {value:,}; this engine takes at most {cap:,}")
