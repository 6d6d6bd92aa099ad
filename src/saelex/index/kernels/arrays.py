"""The arrays that the kernels work on. Numpy only, so that reading and writing them costs no numba import."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Weights: TypeAlias = "NDArray[np.uint8] | NDArray[np.uint16]"
Matrix = TypeVar("Matrix", bound="Postings | ForwardRows | CappedPostings", covariant=True)

LAST_ROW = 0xFFFFFFFF
NO_SCORE = LAST_ROW
"""The largest key of score 0 (see `scoring.py`): hits lie above it."""

NO_LINES = np.zeros(0, np.int64)
"""Asks `Lines.lines` for nothing but shapes and types."""


class Lines(Protocol[Matrix]):
    """A matrix stored line by line, whose lines (columns of postings, or forward rows) are asked for before reading.

    So a file can be verified as far as it is used; a matrix in memory is always ready and gives itself.
    """

    def lines(self, numbers: NDArray[Any]) -> Matrix:
        """The matrix, of which these lines may be read. Numbers beyond its lines are allowed: those are empty."""


class Postings(NamedTuple):
    """An inverted index as plain arrays: for every column (latent or word) the rows (documents) that have it.

    All arrays are C-contiguous ndarrays, read-only or not (of a memory map, pass `array.view(np.ndarray)`).
    """

    indptr: NDArray[np.int64]  # [n_columns + 1]; column c owns the entries indptr[c]:indptr[c + 1]
    rows: NDArray[np.int32]  # [non-zeros], strictly ascending inside a column
    weights: Weights  # [non-zeros]

    @property
    def n_columns(self) -> int:
        return len(self.indptr) - 1

    def lines(self, columns: NDArray[Any]) -> Postings:
        """Itself."""
        return self


class ForwardRows(NamedTuple):
    """The same matrix row by row: for every document its latents. What postings are built from and rescoring reads."""

    indptr: NDArray[np.int64]  # [rows + 1]
    latents: NDArray[np.int32]  # [non-zeros], strictly ascending inside a row
    weights: Weights  # [non-zeros]
    positions: NDArray[np.uint16] | None = None  # [non-zeros], token position, kept beside each weight

    @property
    def n_rows(self) -> int:
        return len(self.indptr) - 1

    def lines(self, rows: NDArray[Any]) -> ForwardRows:
        """Itself."""
        return self

    def entries_of(self, rows: NDArray[np.int64]) -> ForwardRows:
        """Some of the rows, in the order given."""
        lengths = self.indptr[rows + 1] - self.indptr[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        entries = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], lengths)
        positions = None if self.positions is None else self.positions[entries]
        return ForwardRows(indptr, self.latents[entries], self.weights[entries], positions)


class CappedPostings(NamedTuple):
    """Of every column with more than `cap` postings the `cap` heaviest, rows ascending; all other columns are empty.

    A column that is empty here is short: its postings are read whole from the Postings beside it, so no entry of a
    short column is stored twice.
    """

    indptr: NDArray[np.int64]  # [n_columns + 1]
    rows: NDArray[np.int32]
    weights: Weights

    def lines(self, columns: NDArray[Any]) -> CappedPostings:
        """Itself."""
        return self

    def lacking(self, columns: NDArray[np.int32]) -> NDArray[np.int32]:
        """Those of the columns that are empty here."""
        inside = columns < len(self.indptr) - 1
        known = columns[inside]
        return np.concatenate([known[self.indptr[known] == self.indptr[known + 1]], columns[~inside]])
