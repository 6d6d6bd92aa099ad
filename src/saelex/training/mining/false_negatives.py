"""Unlabelled documents that answer the query after all, told by a teacher's score close to the positive's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saelex.errors import InputError


@dataclass(frozen=True)
class FalseNegativeFilter:
    """A negative that a teacher scores above a bound, taken from the query's lowest positive, is a false negative.

    share: of the positive's score s (NV-Retriever, arXiv 2407.15831, finds 0.95 best);
    for scores that are never far below 0, such as cosines or normalised ones. The bound is s - (1 - share)·|s|, which
    is share·s wherever s is positive. margin: the bound is s - margin; for logits. Where both are given, the lower
    bound counts. Queries without a scored positive lose nothing. Raises InputError for values without a meaning.
    """

    share: float | None = None
    margin: float | None = None

    def __post_init__(self) -> None:
        if self.share is not None and not 0 < self.share <= 1:
            raise InputError(f"--drop-above is a share of the positive's score, in (0, 1], not {self.share}")
        if self.margin is not None and not np.isfinite(self.margin):
            raise InputError(f"--drop-margin is a number, not {self.margin}")

    @property
    def active(self) -> bool:
        """Whether it filters at all."""
        return self.share is not None or self.margin is not None

    def false_negatives(
        self, scores: NDArray[np.floating[Any]], relevant: NDArray[np.bool_], query: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Which pairs are false negatives, bool [pairs].

        scores: [pairs], NaN where there is none; relevant: [pairs]; query: [pairs], the number of each pair's query.
        """
        lowest = np.full(int(query.max(initial=-1)) + 1, np.inf)  # [queries]
        positive = relevant & ~np.isnan(scores)
        np.minimum.at(lowest, query[positive], scores[positive])
        bound = np.full(len(lowest), np.inf)
        known = np.isfinite(lowest)
        if self.share is not None:
            bound[known] = lowest[known] - (1 - self.share) * np.abs(lowest[known])
        if self.margin is not None:
            bound[known] = np.minimum(bound[known], lowest[known] - self.margin)
        found: NDArray[np.bool_] = ~relevant & (scores > bound[query])
        return found
