"""Several teachers' scores of a query's documents, made one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saelex.errors import InputError


@dataclass(frozen=True)
class Aggregation:
    """How teachers' scores become one.

    weights: of the teachers in their mean; None for equal ones. normalise: min-max also where there is one teacher;
    several always are, since their units differ. scale: of the result. A KL teacher is softmax(scores): scores from 0
    to 1 leave it nearly uniform, so that normalised scores and cosines want a scale of some 10 to 30.
    """

    weights: tuple[float, ...] | None = None
    normalise: bool = False
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.weights is not None and (min(self.weights) < 0 or not sum(self.weights)):
            raise InputError(f"--weights are numbers from 0, not all 0, not {self.weights}")
        if not 0 < self.scale < np.inf:
            raise InputError(f"--scale is a number above 0, not {self.scale}")

    def check(self, teachers: int) -> None:
        """Raises InputError unless there is a weight for every teacher, or none."""
        if self.weights is not None and len(self.weights) != teachers:
            raise InputError(f"--weights has {len(self.weights)} numbers for {teachers} teachers; give one for each")

    def combine(self, scores: Sequence[NDArray[np.float32]], query: NDArray[np.int64]) -> NDArray[np.float64]:
        """The scores before scaling, [pairs]; scores: [pairs] of each teacher; query: [pairs], whose pair it is.

        SPLADE-v3's (arXiv 2403.06789): per-query min-max normalisation of each teacher, then the mean.
        """
        if len(scores) == 1 and not self.normalise:
            return scores[0].astype(np.float64)
        weights = np.ones(len(scores)) if self.weights is None else np.array(self.weights)
        normalised = np.stack([min_max(one, query) for one in scores])  # [teachers, pairs]
        combined: NDArray[np.float64] = weights @ normalised / weights.sum()
        return combined


def min_max(scores: NDArray[np.float32], query: NDArray[np.int64]) -> NDArray[np.float64]:
    """(s - min) / (max - min) over each query's pairs, [pairs]; 0 for a query whose pairs all score the same."""
    n_queries = int(query.max(initial=-1)) + 1
    low, high = np.full(n_queries, np.inf), np.full(n_queries, -np.inf)
    np.minimum.at(low, query, scores)
    np.maximum.at(high, query, scores)
    spread = (high - low)[query]
    normalised: NDArray[np.float64] = (scores - low[query]) / np.where(spread > 0, spread, 1)
    return normalised
