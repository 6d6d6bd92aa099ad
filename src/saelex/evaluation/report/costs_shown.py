"""Costs as columns of a table, and their means over collections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from saelex.evaluation.costs import MOST_ENCODED, Costs, Latency
from saelex.evaluation.report.blocks import DASH
from saelex.evaluation.results import Evaluation

Best = Literal["least", "most", None]


@dataclass(frozen=True)
class CostColumn:
    """One cost. best: which end of the column is better; None where neither is. value: what is compared."""

    title: str
    meaning: str
    best: Best
    value: Callable[[Costs], float | None]
    shown: Callable[[Costs], str]


def number(value: float | None) -> str:
    """Three digits or all before the point, with commas."""
    if value is None:
        return DASH
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{value:,.{digits}f}"


def _plain(
    title: str,
    meaning: str,
    best: Best,
    value: Callable[[Costs], float | None],
    shown: Callable[[float | None], str] = number,
) -> CostColumn:
    return CostColumn(title, meaning, best, value, lambda costs: shown(value(costs)))


def _latency(title: str, meaning: str, of: Callable[[Costs], Latency | None]) -> CostColumn:
    def median(costs: Costs) -> float | None:
        latency = of(costs)
        return None if latency is None else latency.p50

    def shown(costs: Costs) -> str:
        latency = of(costs)
        return DASH if latency is None else "/".join(map(number, (latency.p50, latency.p95, latency.p99)))

    return CostColumn(title, meaning, "least", median, shown)


COST_COLUMNS = (
    _plain(
        "active/query",
        "active columns of a mean query, words included where they count",
        "least",
        lambda costs: costs.query_active,
    ),
    _plain("active/passage", "the same of a mean passage", "least", lambda costs: costs.document_active),
    _plain(
        "QD-FLOPs",
        "columns that a random query and a random passage share; a proxy of work, not a latency",
        "least",
        lambda costs: costs.qd_flops,
    ),
    _plain("postings", "postings that exact search reads for a mean query", "least", lambda costs: costs.postings),
    _latency(
        "search ms",
        "latency of searching with a query's vector: p50/p95/p99, one query at a time, after a warm-up",
        lambda costs: costs.latency_ms,
    ),
    _latency(
        "text to hits ms",
        "the same of searching with a text, which is encoded first",
        lambda costs: costs.end_to_end_ms,
    ),
    _plain(
        "passages/s",
        "passages encoded a second, in batches, by as many cores as text to hits: a sample of at most "
        f"{MOST_ENCODED['document']}, after a warm-up",
        "most",
        lambda costs: costs.encode_documents_per_s,
    ),
    _plain(
        "queries/s",
        f"the same of at most {MOST_ENCODED['query']} queries",
        "most",
        lambda costs: costs.encode_queries_per_s,
    ),
    _plain(
        "bytes/document",
        "bytes of the index a document",
        "least",
        lambda costs: costs.index_bytes_per_document,
    ),
    _plain(
        "latents used",
        "share of the latents that are active in any passage",
        None,
        lambda costs: costs.latents_used,
        lambda value: DASH if value is None else f"{100 * value:.1f} %",
    ),
    _plain(
        "Gini",
        "of the latents' document frequencies, those never used included; 0 is even use of all",
        None,
        lambda costs: costs.df_gini,
        lambda value: DASH if value is None else f"{value:.3f}",
    ),
)


def mean_costs(costs: Sequence[Costs | None]) -> Costs | None:
    """The mean over collections, each counting alike; None where any lacks it, so that all means are of the same."""
    known = [one for one in costs if one is not None]
    if not known or len(known) < len(costs):
        return None
    return Costs(
        query_active=_mean(one.query_active for one in known),
        document_active=_mean(one.document_active for one in known),
        qd_flops=_mean(one.qd_flops for one in known),
        postings=_mean(one.postings for one in known),
        latency_ms=_mean_latency([one.latency_ms for one in known]),
        encode_documents_per_s=_mean_known([one.encode_documents_per_s for one in known]),
        encode_queries_per_s=_mean_known([one.encode_queries_per_s for one in known]),
        index_bytes_per_document=_mean_known([one.index_bytes_per_document for one in known]),
        latents_used=_mean(one.latents_used for one in known),
        df_gini=_mean(one.df_gini for one in known),
        end_to_end_ms=_mean_latency([one.end_to_end_ms for one in known]),
    )


def costs_by_system(evaluation: Evaluation) -> dict[str, Costs | None]:
    """`mean_costs` of every system that all collections have."""
    return {
        system: mean_costs([one.system(system).costs for one in evaluation.collections])
        for system in evaluation.systems
    }


def latency_conditions(costs: Iterable[tuple[str, Costs]]) -> list[str]:
    """One line for every way in which latencies were measured, naming the systems where there are several.

    The queries timed are those of one system on one collection, as a range where they differ.
    """
    of: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for system, one in costs:
        for what, latency in (("Search", one.latency_ms), ("Text to hits", one.end_to_end_ms)):
            if latency is not None:
                cores = f"{latency.cores} core{'s' if latency.cores != 1 else ''}"
                key = what, f"{latency.mode}, k = {latency.k}, {cores}"
                of.setdefault(key, []).append((system, latency.queries))
    several = len({what for what, _ in of}) < len(of)
    lines = []
    for (what, way), measured in of.items():
        systems, timed = dict.fromkeys(system for system, _ in measured), sorted({queries for _, queries in measured})
        between = f"{timed[0]:,} to {timed[-1]:,}" if len(timed) > 1 else f"{timed[0]:,}"
        lines.append(f"{what}: {way}, {between} queries timed" + (f" ({', '.join(systems)})" if several else ""))
    return lines


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def _mean_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _mean(known) if len(known) == len(values) else None


def _mean_latency(latencies: Sequence[Latency | None]) -> Latency | None:
    """The mean of each percentile; None unless all were measured alike."""
    known = [one for one in latencies if one is not None]
    if len(known) < len(latencies) or len({(one.k, one.mode, one.cores) for one in known}) != 1:
        return None
    first = known[0]
    p50, p95, p99 = (_mean(getattr(one, name) for one in known) for name in ("p50", "p95", "p99"))
    return Latency(p50, p95, p99, first.k, first.mode, first.cores, sum(one.queries for one in known))
