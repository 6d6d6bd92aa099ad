"""What the approximate searches leave out: long columns' light postings (capped), documents' light latents (two_step).

The latter is the first step of Two-Step SPLADE (Lassance et al., arXiv 2404.13357). Static pruning keeps each
document's heaviest latents. The light ones left out would have added to the score too, so the weights kept are
re-saturated as in BM25: w / (w + half) grows ever more slowly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from saelex.index.kernels.arrays import ForwardRows, Postings, Weights
from saelex.index.kernels.build import build_postings, heaviest

DOCUMENT_TERMS = 64
"""Latents a document keeps in the first step; the paper prunes to the mean number of different words."""

_HALF: dict[np.dtype[Any], int] = {np.dtype(np.uint8): 100, np.dtype(np.uint16): 6400}
"""Stored weight at which saturation reaches one half: k1 = 100, as in the paper, on 8 bits (14 of uint16 are used)."""


_SMALLEST_CAP = 2048
_SHARE = 16


def column_cap(n_rows: int) -> int:
    """Postings that `capped` search reads of a column at most, in a segment of so many rows.

    A sixteenth of the rows. Short columns stay whole: they tell most about a document. Cutting every column to an equal
    share of its length, or of the query's contributions, lost far more recall for the same postings read.
    """
    return max(_SMALLEST_CAP, n_rows // _SHARE)


def first_step_postings(forward: ForwardRows, n_columns: int, document_terms: int = DOCUMENT_TERMS) -> Postings:
    """Postings of the pruned and re-saturated documents, weights uint8."""
    lengths = np.minimum(np.diff(forward.indptr), document_terms)
    indptr, latents, weights = heaviest(forward.indptr, forward.latents, forward.weights, lengths)
    return build_postings(ForwardRows(indptr, latents, _saturate(weights)), n_columns)


def _saturate(weights: Weights) -> NDArray[np.uint8]:
    half = np.float32(_HALF[np.dtype(weights.dtype)])
    wide = weights.astype(np.float32)
    wide /= wide + half
    return np.maximum(np.rint(wide * 255), 1).astype(np.uint8)
