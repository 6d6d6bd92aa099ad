"""Fusion of runs by rank alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import fsum

from saelex.corpus.documents import Run, best_first
from saelex.errors import InputError
from saelex.evaluation.measures import DEPTH, untied

RRF_K = 60


def reciprocal_rank_fusion(runs: Sequence[Run], k: int = RRF_K, depth: int = DEPTH) -> Run:
    """Each document's sum over the runs of 1 / (k + rank), ranks from 1 (Cormack, Clarke and Büttcher, SIGIR 2009).

    A run gives nothing to a document that it does not have. Ranks are those of the project's rule for ties (see
    `saelex.selection`), which also orders documents of equal sums; the first `depth` of them stay. A query that only
    some of the runs answer is fused of those. Raises InputError without runs, for a negative k, or a depth below 1.
    """
    if not runs:
        raise InputError("reciprocal rank fusion: no runs to fuse")
    if k < 0:
        raise InputError(f"reciprocal rank fusion: k is a number from 0 up, not {k}")
    if depth < 1:
        raise InputError(f"reciprocal rank fusion: at least one document is kept, not {depth}")
    ranked = [untied(run, max(map(len, run.values()), default=0)) for run in runs]
    fused: Run = {}
    for query in dict.fromkeys(query for run in ranked for query in run):
        shares: defaultdict[str, list[float]] = defaultdict(list)
        for run in ranked:
            for rank, document in enumerate(run.get(query, {}), start=1):
                shares[document].append(1 / (k + rank))
        # fsum: equal sets of ranks give equal sums, whatever the order of the runs
        sums = {document: fsum(parts) for document, parts in shares.items()}
        fused[query] = dict(best_first(sums)[:depth])
    return fused
