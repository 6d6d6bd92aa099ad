"""Runtimes on arrays: a backbone's token states from whatever computes them, and the head on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from saelex.encoder.runtimes.head import ArrayHead
from saelex.encoder.runtimes.runtime import Arithmetic
from saelex.encoder.tokens import TokenizedText
from saelex.vectors import SparseRows


class TokenStates(Protocol):
    """A backbone without its torch module."""

    arithmetic: Arithmetic

    def states(self, ids: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        """The hidden states [tokens, d_model] of all tokens, one text's after the other's."""


class ArrayRuntime:
    """See `Runtime`."""

    def __init__(self, backbone: TokenStates, head: ArrayHead) -> None:
        self.arithmetic = backbone.arithmetic
        self._backbone = backbone
        self._head = head

    def rows(self, texts: Sequence[TokenizedText], sink_norm: float | None) -> SparseRows:
        """See `Runtime.rows`."""
        hidden = self._backbone.states([text.ids for text in texts])
        pooled = np.concatenate([text.pooled for text in texts])
        if sink_norm is not None:
            pooled &= np.linalg.norm(hidden, axis=1) <= sink_norm
        lengths = np.array([len(text.ids) for text in texts])
        starts = np.cumsum(lengths) - lengths
        offsets = np.concatenate([[0], np.cumsum(np.add.reduceat(pooled.astype(np.int64), starts))]).astype(np.int64)
        kept = np.flatnonzero(pooled)
        rows = self._head.rows(hidden[kept], offsets)
        return self._in_text_positions(rows, kept, offsets, starts)

    @staticmethod
    def _in_text_positions(
        rows: SparseRows, kept: NDArray[np.int64], offsets: NDArray[np.int64], starts: NDArray[np.int64]
    ) -> SparseRows:
        """The same rows with `positions` counted in the text's tokens, where pooling counted those that it read."""
        assert rows.positions is not None
        text = rows.row_of_entry()
        known = rows.positions >= 0
        token = np.where(known, rows.positions + offsets[text], 0)
        positions = np.where(known, kept[token] - starts[text] if len(kept) else 0, -1).astype(np.int32)
        return SparseRows(rows.indptr, rows.latents, rows.weights, rows.n_latents, positions)
