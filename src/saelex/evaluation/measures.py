"""Retrieval measures through ir_measures, under one rule for ties."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from subprocess import CalledProcessError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saelex.corpus.documents import Qrels, Run, best_first
from saelex.errors import InputError
from saelex.installation import needs_extra

try:
    import ir_measures
except ImportError as error:
    raise needs_extra("measuring", "ir-measures", "evaluate") from error

MEASURES = {"nDCG@10": ir_measures.nDCG @ 10, "MRR@10": ir_measures.RR @ 10, "R@100": ir_measures.R @ 100}
DEPTH = 100
"""How many documents a run needs per query: the deepest cut-off among the measures."""
UNCUT_DEPTH = 1000
"""How many documents a measure without a cut-off reads per query."""


def untied(run: Run, depth: int = DEPTH) -> Run:
    """The first `depth` documents per query, with scores that fall by one from rank to rank.

    Ties go by the project's rule (see `saelex.selection`). The providers behind ir_measures break them in opposite
    directions (trec_eval by descending id, its RR@k by ascending id); scores made from ranks leave nothing to break.
    """
    ordered = {query: best_first(scores)[:depth] for query, scores in run.items()}
    return {
        query: {document: float(depth - rank) for rank, (document, _) in enumerate(entries)}
        for query, entries in ordered.items()
    }


def best_documents(
    scores: NDArray[np.float32], ids: NDArray[np.str_], depth: int = DEPTH, positive_only: bool = True
) -> dict[str, float]:
    """The `depth` best of the documents with these scores and ids, [documents] both; ties: see `saelex.selection`.

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


def read_measures(names: Iterable[str]) -> dict[str, Any]:
    """Measures of ir_measures by name, such as "nDCG@10", "MRR@10", "AP(rel=2)"; without names, `MEASURES`.

    Raises InputError for a name that ir_measures does not know, or that nothing installed computes.
    """
    found: dict[str, Any] = {}
    for name in names:
        try:
            found[name] = ir_measures.parse_measure(name)
            # its parameters are checked only here; an assertion is how ir_measures refuses them
            ir_measures.evaluator([found[name]], {"q": {"d": 1}})
        except (ValueError, NameError, TypeError, KeyError, RuntimeError, AssertionError) as error:
            raise InputError(
                f"measure {name!r}: {error}; name measures of ir_measures, such as nDCG@10, MRR@10, R@100 or AP"
            ) from error
    return found or dict(MEASURES)


def depth_of(measures: Mapping[str, Any]) -> int:
    """How many documents a run needs per query for these measures.

    The deepest cut-off, and at least `DEPTH`; a measure without a cut-off reads 1,000, as is the custom of TREC.
    """
    cutoffs = [one.params.get("cutoff", UNCUT_DEPTH) for one in measures.values()]
    return max(DEPTH, *cutoffs) if cutoffs else DEPTH


def measure_queries(
    qrels: Qrels, run: Run, measures: Mapping[str, Any] | None = None, *, depth: int | None = None
) -> dict[str, dict[str, float]]:
    """measure -> query id -> value, for every query of the qrels in their order.

    measures: from `read_measures`; None is `MEASURES`. depth: of the run; None is `depth_of` the measures.

    A query that the run does not answer counts as 0, and so does one for which a measure is not defined. Raises
    InputError for qrels without queries, and for grades that a measure cannot take.
    """
    if not qrels:
        raise InputError("no relevance judgements to measure against")
    chosen = MEASURES if measures is None else measures
    found = {one: dict.fromkeys(qrels, 0.0) for one in chosen.values()}
    queries = list(qrels)
    try:
        for one in ir_measures.iter_calc(list(found), *_numbered(qrels, untied(run, depth or depth_of(chosen)))):
            if math.isfinite(one.value):
                found[one.measure][queries[int(one.query_id)]] = float(one.value)
    except CalledProcessError as error:
        raise InputError(
            f"{', '.join(chosen)}: gdeval, which computes ERR and nDCG of exponential gain, takes grades up to 4 alone"
        ) from error
    return {name: found[one] for name, one in chosen.items()}


def _numbered(qrels: Qrels, run: Run) -> tuple[Qrels, Run]:
    """Both with numbers as ids, and of the run what the qrels ask for.

    Not every program behind ir_measures reads other ids: gdeval takes what is behind a query's last dash for the whole.
    """
    numbers: defaultdict[str, str] = defaultdict(lambda: str(len(numbers)))
    judged = {str(i): {numbers[name]: grade for name, grade in of.items()} for i, of in enumerate(qrels.values())}
    answers = ((str(i), run.get(query)) for i, query in enumerate(qrels))
    return judged, {i: {numbers[name]: score for name, score in of.items()} for i, of in answers if of}


def means_of(per_query: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Each measure's mean over its queries."""
    return {name: sum(values.values()) / len(values) for name, values in per_query.items()}


def measure(qrels: Qrels, run: Run) -> dict[str, float]:
    """nDCG@10 (linear gain, trec_eval's), MRR@10 and R@100, each the mean over all queries of the qrels.

    A query that the run does not answer counts as 0. Raises InputError for qrels without queries.
    """
    return means_of(measure_queries(qrels, run))
