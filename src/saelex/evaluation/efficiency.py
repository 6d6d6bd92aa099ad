"""What a search costs before any index is built: active latents, how many two sides share, how evenly they are used."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saelex.errors import InputError
from saelex.vectors import SparseRows


def qd_flops(queries: SparseRows, documents: SparseRows) -> float:
    """QD-FLOPs: the sum over latents j of P(q_j > 0) · P(d_j > 0), each the share of rows where latent j is active.

    That is the expected number of latents that a random query and a random document share: of products in their dot
    product, and of postings read per query and document (SAE-SPLADE, arXiv 2604.21511). A proxy of work, not a latency.

    Raises InputError where a side has no rows, or the sides differ in their number of latents.
    """
    if queries.n_latents != documents.n_latents:
        raise InputError(
            f"QD-FLOPs: queries of {queries.n_latents} latents, documents of {documents.n_latents}; "
            "use one encoder for both"
        )
    return float(activation_shares(queries) @ activation_shares(documents))


def mean_postings(queries: SparseRows, documents: SparseRows) -> float:
    """Postings that exact search reads for a mean query: the sum of its latents' document frequencies.

    That is QD-FLOPs times the number of documents: both count the pairs of a query and a document that share a latent,
    one per pair, the other per query. Raises InputError as `qd_flops` does.
    """
    return qd_flops(queries, documents) * len(documents)


def mean_active(rows: SparseRows) -> float:
    """Mean number of latents above zero in a row. Raises InputError where there are no rows."""
    return float(activation_shares(rows).sum())


def activation_shares(rows: SparseRows) -> NDArray[np.float64]:
    """P(x_j > 0): the share of rows in which each latent is active, [latents]. Raises InputError without rows."""
    if not len(rows):
        raise InputError("no vectors to count active latents in")
    return np.bincount(rows.latents[rows.weights > 0], minlength=rows.n_latents) / len(rows)


def gini(values: ArrayLike) -> float:
    """Gini coefficient of values from 0 up: 0 where all are equal, towards 1 where few hold everything.

    Half the relative mean absolute difference, sum_ij |x_i - x_j| / (2 n² mean(x)), computed from the sorted values. It
    is 0 where all are 0. Raises InputError without values, or for one below 0.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    n, total = len(ordered), float(ordered.sum())
    if not n or ordered[0] < 0:
        raise InputError("a Gini coefficient is of numbers from 0 up, one at least")
    if not total:
        return 0.0
    ranks = np.arange(1, n + 1)
    return float(2 * (ranks @ ordered) / (n * total) - (n + 1) / n)
