"""BM25 over sparse rows whose "term frequencies" are real numbers: counts of words or activations of latents.

The Lucene form (Kamphuis et al., ECIR 2020, table 1), summed over the columns that query and document share:

    score = Σ  q · idf · tf / (tf + k1 · (1 - b + b · length / mean length))
    idf   = log(1 + (N - df + 0.5) / (df + 0.5))

The plain dot product of the two vectors is the BM25 score, however they share the idf. Latents
(`saelex.encoder.weighting`) carry its square root on both sides, so that a Top-K on either side keeps what matters to
the score; words (`saelex.encoder.words.channel`) carry it on the query's side alone, so that what is stored of a
document does not depend on the documents that come after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saelex.errors import InputError
from saelex.vectors import SparseRows


@dataclass(frozen=True, eq=False)
class Bm25Statistics:
    """What BM25 knows of a corpus, counted once and then frozen.

    document_frequencies: int64 [columns]; in how many documents each column is active. Columns beyond the array have
        never been seen: their frequency is 0.
    n_documents: number of documents counted.
    mean_length: mean over documents of the sum of a row's weights.
    """

    document_frequencies: NDArray[np.int64]
    n_documents: int
    mean_length: float

    @classmethod
    def count(cls, chunks: Iterable[SparseRows]) -> Bm25Statistics:
        """One pass over the documents' rows: raw weights, before any Top-K. The number of columns may grow on the way.

        Raises InputError when there is no document.
        """
        frequencies = np.zeros(0, np.int64)
        documents, total_length = 0, 0.0
        for rows in chunks:
            if rows.n_latents > len(frequencies):
                frequencies = np.pad(frequencies, (0, rows.n_latents - len(frequencies)))
            frequencies[: rows.n_latents] += np.bincount(rows.latents, minlength=rows.n_latents)
            documents += len(rows)
            total_length += float(rows.weights.sum(dtype=np.float64))
        if not documents:
            raise InputError("BM25 statistics need at least one document")
        return cls(frequencies, documents, total_length / documents)

    def frequency(self, columns: NDArray[Any]) -> NDArray[np.int64]:
        """Document frequencies of the given columns, int64, shaped like them; 0 for columns never seen."""
        frequencies = np.zeros(columns.shape, np.int64)
        seen = columns < len(self.document_frequencies)
        frequencies[seen] = self.document_frequencies[columns[seen]]
        return frequencies

    def idf(self, columns: NDArray[Any]) -> NDArray[np.float64]:
        """Inverse document frequencies of the given columns: positive, largest for columns never seen."""
        return idf(self.frequency(columns), self.n_documents)

    def term_frequency(self, rows: SparseRows, k1: float | None, b: float) -> NDArray[np.float64]:
        """As the function, at the mean length counted."""
        return term_frequency(rows, self.mean_length, k1, b)


def idf(document_frequencies: NDArray[np.int64], n_documents: int) -> NDArray[np.float64]:
    """Inverse document frequencies, shaped like the frequencies: positive, largest where those are 0."""
    return np.log1p((n_documents - document_frequencies + 0.5) / (document_frequencies + 0.5))


def term_frequency(rows: SparseRows, mean_length: float, k1: float | None, b: float) -> NDArray[np.float64]:
    """The documents' weights, normalised by length and saturated: [non-zeros].

    mean_length: of the documents; 0 where none has a length. k1 None leaves out the saturation, as k1 does in its limit
    at infinity: weight / length norm.
    """
    lengths = np.bincount(rows.row_of_entry(), rows.weights, minlength=len(rows))
    relative = lengths / mean_length if mean_length else np.ones(len(rows))
    norms = np.repeat(1 - b + b * relative, rows.lengths)
    weights = rows.weights.astype(np.float64)
    return weights / norms if k1 is None else weights / (weights + k1 * norms)


def check_bm25(k1: float | None, b: float) -> None:
    """Raises InputError unless k1 >= 0 (or None) and 0 <= b <= 1."""
    if k1 is not None and not 0 <= k1 < np.inf:
        raise InputError(f"BM25: k1 must be a number from 0 up, or None for no saturation, not {k1}")
    if not 0 <= b <= 1:
        raise InputError(f"BM25: b must lie between 0 and 1, not {b}")
