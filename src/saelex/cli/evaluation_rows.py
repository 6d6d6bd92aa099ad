"""An evaluation as the rows of `saelex evaluate`: for its table and for its JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from saelex.cli.tables import new_table, print_table

if TYPE_CHECKING:
    from saelex.evaluation.costs import Costs, Latency
    from saelex.evaluation.results import Comparison, Evaluation

MARK = "†"
_TIMES = ("ms p50/p95/p99", "text ms p50/p95/p99", "texts/s q/d")
_COSTS = ("latents q/d", "QD-FLOPs", "postings", *_TIMES, "bytes/doc", "used", "Gini")


@dataclass(frozen=True)
class Row:
    """One system on one split of one collection; "mean" as the collection is the mean over all of them.

    top_k: latents kept per query and document, as in "40/400". comparisons: measure -> with the reference.
    """

    collection: str
    split: str
    system: str
    measures: dict[str, float]
    queries: int
    documents: int
    top_k: str = ""
    costs: Costs | None = None
    comparisons: dict[str, Comparison] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Collection and split."""
        return f"{self.collection}:{self.split}" if self.split else self.collection

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "set": self.collection,
            "split": self.split,
            "system": self.system,
            **self.measures,
            "queries": self.queries,
            "documents": self.documents,
            "top_k": self.top_k,
            "query_latents": None if self.costs is None else self.costs.query_active,
            "document_latents": None if self.costs is None else self.costs.document_active,
            "costs": None if self.costs is None else asdict(self.costs),
            "comparisons": [asdict(one) for one in self.comparisons.values()],
        }


def rows_of(evaluation: Evaluation) -> list[Row]:
    """Every system of every collection, then, of several collections, the means."""
    from saelex.evaluation.report.costs_shown import costs_by_system

    reference = evaluation.facts["reference"]
    top_ks = {name: facts.get("top_k", "") for name, facts in evaluation.facts["systems"].items()}
    rows = []
    for result in evaluation.collections:
        sizes = result.n_queries, result.n_documents
        for one in result.systems:
            compared = ((name, result.comparison(name, one.system, reference)) for name in one.measures)
            comparisons = {name: comparison for name, comparison in compared if comparison is not None}
            top_k = top_ks[one.system]
            rows.append(Row(result.name, result.split, one.system, one.measures, *sizes, top_k, one.costs, comparisons))
    if len(evaluation.collections) > 1:
        queries = sum(one.n_queries for one in evaluation.collections)
        documents = sum(one.n_documents for one in evaluation.collections)
        costs = costs_by_system(evaluation)
        rows += [
            Row("mean", "", system, measures, queries, documents, top_ks[system], costs[system])
            for system, measures in evaluation.means().items()
        ]
    return rows


def print_evaluation(evaluation: Evaluation) -> None:
    """The table, and what its marks and columns mean."""
    from saelex.evaluation.significance import ALPHA

    rows = rows_of(evaluation)
    names = evaluation.facts["measures"]
    best: dict[str, float] = {}
    for row in rows:
        best[row.title] = max(best.get(row.title, 0.0), row.measures[names[0]])
    marked = any(_differs(row, name) for row in rows for name in names)
    table = new_table(["set", "system"], [*names, "queries", "documents", "top-k", *_COSTS])
    for i, row in enumerate(rows):
        values = (f"{row.measures[name]:.3f}" + (MARK if _differs(row, name) else " " * marked) for name in names)
        table.add_row(
            row.title,
            row.system,
            *values,
            f"{row.queries:,}",
            f"{row.documents:,}",
            row.top_k,
            *_cost_cells(row.costs),
            style="bold" if row.measures[names[0]] == best[row.title] else "",
            end_section=i + 1 == len(rows) or rows[i + 1].title != row.title,
        )
    compared = max((len(one.comparisons) for one in evaluation.collections), default=0) // len(names)
    notes = []
    if compared:
        over = f", Holm-corrected over the {compared} comparisons of a set and measure" if compared > 1 else ""
        notes.append(
            f"{MARK} differs from {evaluation.facts['reference']}: p < {ALPHA:g} in the two-sided paired randomisation "
            f"test over queries{over}."
        )
    print_table(table, [*notes, *_cost_notes(evaluation)])


def _differs(row: Row, measure: str) -> bool:
    from saelex.evaluation.significance import ALPHA

    comparison = row.comparisons.get(measure)
    return comparison is not None and comparison.randomisation_holm < ALPHA


def _cost_cells(costs: Costs | None) -> list[str]:
    if costs is None:
        return [""] * len(_COSTS)
    speeds, size = (costs.encode_queries_per_s, costs.encode_documents_per_s), costs.index_bytes_per_document
    return [
        f"{costs.query_active:.0f}/{costs.document_active:.0f}",
        f"{costs.qd_flops:.1f}",
        f"{costs.postings:,.0f}",
        _milliseconds(costs.latency_ms),
        _milliseconds(costs.end_to_end_ms),
        "/".join(f"{speed:.0f}" for speed in speeds if speed is not None),
        "" if size is None else f"{size:,.0f}",
        f"{costs.latents_used:.0%}",
        f"{costs.df_gini:.2f}",
    ]


def _milliseconds(latency: Latency | None) -> str:
    return "" if latency is None else f"{latency.p50:.2f}/{latency.p95:.2f}/{latency.p99:.2f}"


def _cost_notes(evaluation: Evaluation) -> list[str]:
    """What the columns of costs mean, where there are any."""
    from saelex.evaluation.report.costs_shown import latency_conditions

    measured = [(one.system, one.costs) for each in evaluation.collections for one in each.systems if one.costs]
    if not measured:
        return []
    return [
        "latents: active columns of a mean query and passage, words included where they count. QD-FLOPs: those that a "
        "random pair shares. postings: read per query. ms: to search with one query's vector; text ms: with its text, "
        f"which is encoded first; after a warm-up. {'. '.join(latency_conditions(measured))}. texts/s: queries and "
        "passages encoded in batches, of a sample. used, Gini: share of the latents active in any "
        "passage, and how unevenly."
    ]
