"""What latents share across languages: those of a text and of its translation, and those that one language keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from saelex.errors import InputError
from saelex.vectors import SparseRows

if TYPE_CHECKING:
    import scipy.sparse

DOCUMENTS = 1000
"""Most documents that are compared with their translations."""
LEAST_FIRINGS, BOUND = 10, 0.9
"""A latent is language-bound when one language has this share of its firings; rarer latents are not looked at."""


@dataclass(frozen=True)
class Overlap:
    """Jaccard overlap of the active latents of documents in two languages.

    translations: mean over documents and their own translations. others: mean over all other pairs, which is chance.
    """

    first: str
    second: str
    translations: float
    others: float


@dataclass(frozen=True)
class LatentsByLanguage:
    """One model's latents on documents and their translations, at the Top-K of documents.

    documents: how many were looked at, in every language alike. counted: latents that fire in ten or more of them.
    bound: language -> latents with 90 % or more of their firings in it. bound_firings: share of the counted latents'
    firings that are of bound ones.
    """

    documents: int
    overlaps: list[Overlap]
    counted: int
    bound: dict[str, int]
    bound_firings: float

    @property
    def bound_share(self) -> float:
        """Share of the counted latents that are bound to a language."""
        return sum(self.bound.values()) / self.counted if self.counted else 0.0


def latents_by_language(active: Mapping[str, scipy.sparse.csr_array]) -> LatentsByLanguage:
    """active: language -> `active_latents` of the same documents, row by row.

    Raises InputError for less than two languages or two documents: there is nothing to compare.
    """
    n_documents = {one.shape[0] for one in active.values()}
    if len(active) < 2 or len(n_documents) != 1 or min(n_documents) < 2:
        raise InputError("latents are compared across two languages or more, of the same two documents or more")
    overlaps = [Overlap(one, other, *_overlap(active[one], active[other])) for one, other in combinations(active, 2)]
    firings = np.stack([np.asarray(one.sum(axis=0)).ravel() for one in active.values()])  # [languages, latents]
    firings = firings[:, firings.sum(axis=0) >= LEAST_FIRINGS]
    bound = firings >= BOUND * firings.sum(axis=0)
    return LatentsByLanguage(
        n_documents.pop(),
        overlaps,
        firings.shape[1],
        {language: int(count) for language, count in zip(active, bound.sum(axis=1))},
        float(firings[:, bound.any(axis=0)].sum() / firings.sum()) if firings.size else 0.0,
    )


def active_latents(
    rows: SparseRows, first_passages: NDArray[np.int64], chosen: Sequence[int]
) -> scipy.sparse.csr_array:
    """Which latents fire in any passage of the chosen documents, as ones [chosen, latents].

    rows: [passages, latents]; first_passages: [documents], the row with which each document begins.
    """
    import scipy.sparse

    ends = np.append(first_passages[1:], len(rows))
    passages = [np.arange(first_passages[i], ends[i]) for i in chosen]
    kept = rows[np.concatenate(passages)]
    document = np.repeat(np.arange(len(chosen)), list(map(len, passages)))[kept.row_of_entry()]
    fired = kept.weights > 0
    ones = np.ones(int(fired.sum()), np.int64)
    shape = len(chosen), rows.n_latents
    found = scipy.sparse.csr_array((ones, (document[fired], kept.latents[fired])), shape=shape)
    found.data[:] = 1  # of several passages: added up where the array was made
    return found


def jaccard(first: SparseRows, second: SparseRows) -> NDArray[np.float64]:
    """Row by row: latents active on both sides over those active on either, [rows]; 0 where neither has any."""
    every = np.arange(len(first))
    one, other = (active_latents(rows, every, range(len(rows))) for rows in (first, second))
    return _jaccard(np.asarray(one.multiply(other).sum(axis=1)).ravel(), *map(_counts, (one, other)))


def _overlap(one: scipy.sparse.csr_array, other: scipy.sparse.csr_array) -> tuple[float, float]:
    """Mean over the documents and their own translations, and over all other pairs."""
    found = _jaccard((one @ other.T).toarray(), _counts(one)[:, None], _counts(other))  # [documents, documents]
    n = len(found)
    own = float(found.trace())
    return own / n, (float(found.sum()) - own) / (n * (n - 1))


def _jaccard(shared: NDArray[np.int64], one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = shared / np.maximum(one + other - shared, 1)
    return shares


def _counts(active: scipy.sparse.csr_array) -> NDArray[np.int64]:
    return np.asarray(active.sum(axis=1)).ravel()
