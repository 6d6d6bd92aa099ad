"""`saelex compare`: runs of any systems, measured and tested against each other."""

from __future__ import annotations

from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saelex.cli.logs import say
from saelex.cli.options import Json, print_json
from saelex.cli.runs import DEFAULT_MEASURES, IgnoreOwnIds, Measures, read_runs, split_names
from saelex.errors import InputError

if TYPE_CHECKING:
    from saelex.evaluation.results import Comparison


def compare(
    qrels: Annotated[Path, typer.Argument(metavar="QRELS", help="Relevance judgements, of TREC's or BEIR's form.")],
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Two or more TREC run files, or NAME=FILE to name them.")
    ],
    reference: Annotated[
        str | None, typer.Option(metavar="NAME", help="Compare all with this run only; else every pair is compared.")
    ] = None,
    measures: Measures = DEFAULT_MEASURES,
    ignore_own_ids: IgnoreOwnIds = None,
    as_json: Json = False,
) -> None:
    """Measure TREC runs and test their differences, query by query.

    p-values are two-sided: Student's paired t-test and the paired randomisation test (100,000 sign flips, or all of
    them for few queries), both Holm-corrected over the comparisons of a measure. Every judged query counts, as 0 where
    a run does not answer it. Ties in a run go to the smaller document id.
    """
    from saelex.corpus.collection import holds_its_queries, without_own_ids
    from saelex.corpus.reading import read_qrels
    from saelex.evaluation.measures import means_of, measure_queries, read_measures
    from saelex.evaluation.significance import compare_systems

    chosen = read_measures(split_names(measures))
    judged = read_qrels(qrels)
    found = read_runs(runs)
    for name, run in found.items():
        if not run.keys() & judged.keys():
            raise InputError(f"the run {name} answers no query of {qrels}; they are of different collections")
    if reference is not None and reference not in found:
        raise InputError(f"--reference {reference!r} is none of the runs {', '.join(found)}")
    if holds_its_queries(str(qrels)) if ignore_own_ids is None else ignore_own_ids:
        found = {name: without_own_ids(run) for name, run in found.items()}
        say("a query's own id is left out of what it finds; --keep-own-ids keeps it")
    per_query = {name: measure_queries(judged, run, chosen) for name, run in found.items()}
    pairs = (
        list(combinations(found, 2)) if reference is None else [(one, reference) for one in found if one != reference]
    )
    comparisons = compare_systems(per_query, pairs)
    means = {name: means_of(values) for name, values in per_query.items()}
    if as_json:
        print_json({"queries": len(judged), "means": means, "comparisons": [asdict(one) for one in comparisons]})
        return
    _print_tables(len(judged), means, comparisons)


def _print_tables(queries: int, means: dict[str, dict[str, float]], comparisons: list[Comparison]) -> None:
    from saelex.cli.tables import new_table, print_table

    names = list(next(iter(means.values())))
    table = new_table(["run"], names)
    for name, values in means.items():
        table.add_row(name, *(f"{values[measure]:.4f}" for measure in names))
    print_table(table, [f"Means over {queries} queries."])
    columns = ["difference", "t-test p", "Holm", "randomisation p", "Holm", "better", "worse", "equal"]
    table = new_table(["measure", "runs"], columns)
    for i, one in enumerate(comparisons):
        table.add_row(
            one.measure,
            f"{one.first} - {one.second}",
            f"{one.difference:+.4f}",
            *(p_text(p) for p in (one.t_p, one.t_holm, one.randomisation_p, one.randomisation_holm)),
            *map(str, (one.wins, one.losses, one.ties)),
            end_section=i + 1 == len(comparisons) or comparisons[i + 1].measure != one.measure,
        )
    print_table(table, ["better, worse, equal: queries on which the first run of the two is so."])


def p_text(p: float) -> str:
    """A p-value with four digits; smaller ones in powers of ten."""
    return f"{p:.4f}" if p >= 0.0001 else f"{p:.1e}"
