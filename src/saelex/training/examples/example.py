"""What retrieval training reads: queries with passages, and the fixed-size group of passages that a step sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Passage(NamedTuple):
    """A text beside a query. score: the teacher's, None where there is none."""

    text: str
    score: float | None = None


@dataclass(frozen=True)
class TrainingQuery:
    """All that a source knows of a query: positives, at least one where it is labelled, and any number of negatives."""

    query: str
    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...] = ()


class Example(NamedTuple):
    """What one step sees of a query: a positive first, then negatives.

    scores: the teacher's, one for each passage; None where one of them has none.
    relevant: texts that must not count as negatives of this query, wherever in the batch they turn up.
    labelled: whether somebody judged the passages; without that their order means nothing, and no score is read.
    """

    query: str
    passages: tuple[str, ...]
    scores: tuple[float, ...] | None
    relevant: frozenset[str]
    labelled: bool = True
