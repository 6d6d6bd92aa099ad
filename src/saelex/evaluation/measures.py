"""Retrieval measures through ir_measures, under one rule for ties."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import ir_measures
import numpy as np
from ir_measures import RR, R, nDCG
from numpy.typing import NDArray

from saelex.corpus.documents import Qrels, Run
from saelex.errors import InputError

MEASURES = {"nDCG@10": nDCG @ 10, "MRR@10": RR @ 10, "R@100": R @ 100}
DEPTH = 100
"""How many documents a run needs per query: the deepest cut-off among the measures."""


def untied(run: Run, depth: int = DEPTH) -> Run:
    """The first `depth` documents per query, with scores that fall by one from rank to rank.

    The rule for ties: higher score first, then the smaller document id (as a string). The providers behind
    ir_measures break ties in opposite directions (trec_eval by descending id, its RR@k by ascending id); scores made
    from ranks leave them nothing to break.
    """
    ordered = {
        query: sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))[:depth] for query, scores in run.items()
    }
    return {
        query: {document: float(depth - rank) for rank, (document, _) in enumerate(entries)}
        for query, entries in ordered.items()
    }


def best_documents(
    scores: NDArray[np.float32], ids: NDArray[np.str_], depth: int = DEPTH, positive_only: bool = True
) -> dict[str, float]:
    """The `depth` best of the documents with these scores and ids, [documents] both, by the rule for ties.

    Every document that ties with the last one is considered. positive_only: only scores above zero count.
    """
    if len(scores) > depth:
        bound = np.partition(scores, len(scores) - depth)[len(scores) - depth]
        candidates = np.flatnonzero(scores >= bound)
    else:
        candidates = np.arange(len(scores))
    if positive_only:
        candidates = candidates[scores[candidates] > 0]
    order = candidates[np.lexsort((ids[candidates], -scores[candidates]))][:depth]
    return {str(ids[i]): float(scores[i]) for i in order}


def measure(qrels: Qrels, run: Run) -> dict[str, float]:
    """nDCG@10 (linear gain, trec_eval's), MRR@10 and R@100, each the mean over all queries of the qrels.

    A query that the run does not answer counts as 0. Raises InputError for qrels without queries.
    """
    if not qrels:
        raise InputError("no relevance judgements to measure against")
    found = ir_measures.calc_aggregate(list(MEASURES.values()), qrels, untied(run))
    return {name: float(found[each]) for name, each in MEASURES.items()}


def mean(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The unweighted mean of every measure over collections."""
    listed = list(rows)
    return {name: sum(row[name] for row in listed) / len(listed) for name in MEASURES}
