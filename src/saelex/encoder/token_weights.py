"""Inference-free queries: a fixed weight per vocabulary token instead of a forward pass.

OpenSearch's doc-only models (arXiv 2411.04403) encode a query as the set of its tokens, each with its inverse document
frequency, or a trained weight, and leave the transformer to the documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saelex.encoder.tokens import TokenizedText
from saelex.vectors import SparseRows


class TokenWeights:
    """The query side of a doc-only model: query[j] = weight[j] if token j occurs in the text, else 0.

    weight: float32 [vocabulary].
    """

    def __init__(self, weight: ArrayLike) -> None:
        self.weight: NDArray[np.float32] = np.ascontiguousarray(weight, np.float32)

    def rows(self, texts: Sequence[TokenizedText]) -> SparseRows:
        """One row per text, over its pooled tokens; positions name each token's first occurrence."""
        parts: list[SparseRows] = []
        for text in texts:
            where = np.flatnonzero(text.pooled)
            tokens, first = np.unique(text.ids[where], return_index=True)
            weighted = self.weight[tokens] != 0
            tokens, positions = tokens[weighted], where[first][weighted]
            indptr = np.array([0, len(tokens)])
            parts.append(SparseRows.build(indptr, tokens, self.weight[tokens], len(self.weight), positions))
        return SparseRows.concatenate(parts) if parts else SparseRows.empty(len(self.weight))

    def digest(self) -> str:
        """sha256 over the weights, for the fingerprint."""
        return sha256(self.weight.data).hexdigest()
