"""One query or many against a list of segments, on as many cores as there are."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from saelex.index.modes import SegmentView, TopRows, kernels, search_capped, search_exact, search_two_step
from saelex.index.quantise import QuantisedQuery
from saelex.index.request import Mode, check_search

_FEW = 32  # queries
_SEARCHES: dict[Mode, Callable[..., TopRows]] = {
    "exact": search_exact,
    "capped": search_capped,
    "two_step": search_two_step,
}


def search_views(views: Sequence[SegmentView], queries: Sequence[QuantisedQuery], k: int, mode: Mode) -> list[TopRows]:
    """The k best rows of every query. Several queries share the cores: the kernels release the interpreter's lock.

    Raises InputError for k < 1, an unknown mode, or one that reads pruned postings which the index does not keep.
    """
    check_search(k, mode)
    k = min(k, max(1, sum(view.n_rows for view in views)))  # what is asked for beyond that would only take memory
    search = partial(_SEARCHES[mode], views)
    if len(queries) == 1:
        return [search(queries[0].latents, queries[0].weights, k)]
    if len(queries) > _FEW:
        kernels(much=True)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(len(queries), cores)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        return list(pool.map(lambda query: search(query.latents, query.weights, k), queries))
