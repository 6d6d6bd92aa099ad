"""The tables of a report: results, collections, comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from saelex.evaluation.costs import Costs
from saelex.evaluation.report.blocks import DASH, Cell, Column, Definitions, Paragraph, Table
from saelex.evaluation.report.choices import TESTS, Choices, collection_key
from saelex.evaluation.report.costs_shown import COST_COLUMNS, Best, costs_by_system, latency_conditions
from saelex.evaluation.results import CollectionResult, Comparison, Evaluation

BETTER, WORSE = "▲", "▼"
Mark = tuple[str, str]
"""A sign and what it says."""


def means_table(evaluation: Evaluation, choices: Choices) -> Table:
    """Means over the collections of what every collection has; marks count the collections."""
    means = evaluation.means()
    marks = {
        (system, measure): _counted_mark(evaluation, choices, system, measure)
        for system in means
        for measure in choices.measures
    }
    caption = f"Means over {len(evaluation.collections)} collections, each counting alike"
    return _results(caption, choices.measures, means, costs_by_system(evaluation), marks)


def collection_table(result: CollectionResult, choices: Choices) -> Table:
    """All systems on one collection."""
    means = {one.system: one.measures for one in result.systems}
    marks = {
        (system, measure): mark_of(significant(result, choices, system, measure), system, choices.reference)
        for system in means
        for measure in choices.measures
    }
    costs = {one.system: one.costs for one in result.systems}
    caption = f"{collection_key(result)}: {result.n_queries:,} queries, {result.n_documents:,} documents"
    return _results(caption, choices.measures, means, costs, marks)


def legend(evaluation: Evaluation, choices: Choices) -> list[Paragraph | Definitions]:
    """What bold, signs and columns of the result tables mean."""
    counts = ", with the number of collections" if len(evaluation.collections) > 1 else ""
    signs = (
        f"{BETTER} significantly better than {choices.reference}, {WORSE} significantly worse{counts}: two-sided "
        f"{TESTS[choices.test]} over queries, Holm-corrected over the comparisons of a collection and measure, "
        f"α = {choices.alpha:g}.{_not_compared(evaluation, choices)} "
        if len(evaluation.systems) > 1
        else ""
    )
    bold = "Bold: the best of a column, as shown. " if len(evaluation.systems) > 1 else ""
    measured = [
        (one.system, one.costs) for each in evaluation.collections for one in each.systems if one.costs is not None
    ]
    conditions = "".join(f"{line}. " for line in latency_conditions(measured))
    dashes = f"{DASH}: not measured, or not there to be measured." if _has_gaps(evaluation) else ""
    notes = Paragraph((bold + signs + conditions + dashes).strip(), note=True)
    meanings = [(column.title, column.meaning) for column in COST_COLUMNS]
    return [notes, Definitions(meanings)] if measured else [notes]


def collections_table(evaluation: Evaluation) -> Table:
    """What was evaluated on."""
    rows = [
        [Cell(one.name), Cell(one.split or DASH), Cell(f"{one.n_queries:,}"), Cell(f"{one.n_documents:,}")]
        for one in evaluation.collections
    ]
    columns = [Column("collection", False), Column("split", False), Column("judged queries"), Column("documents")]
    return Table("What was evaluated on", columns, rows)


def comparison_table(result: CollectionResult, choices: Choices) -> Table:
    """Every comparison of a collection, measure by measure."""
    order = {measure: i for i, measure in enumerate(choices.measures)}
    listed = sorted(result.comparisons, key=lambda one: order.get(one.measure, len(order)))
    columns = [
        Column("measure", False), Column("first", False), Column("second", False), Column("difference"),
        Column("wins / losses / ties"), Column("t-test p"), Column("t-test p (Holm)"),
        Column("randomisation p"), Column("randomisation p (Holm)"),
    ]  # fmt: skip
    rows = []
    for one in listed:
        sign, meaning = mark_of(direction_of(one, choices), one.first, one.second)
        rows.append(
            [
                Cell(one.measure),
                Cell(one.first),
                Cell(one.second),
                Cell(f"{one.difference:+.4f}", mark=sign, meaning=meaning),
                Cell(f"{one.wins} / {one.losses} / {one.ties}"),
                *(Cell(p_value(p)) for p in (one.t_p, one.t_holm, one.randomisation_p, one.randomisation_holm)),
            ]
        )
    return Table(f"{collection_key(result)}: pairs of systems, paired by query", columns, rows)


def p_value(value: float) -> str:
    """Four digits, or that it is below them."""
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def significant(result: CollectionResult, choices: Choices, system: str, measure: str) -> int:
    """1 where a system is significantly better than the reference, -1 where it is worse, else 0."""
    found = result.comparison(measure, system, choices.reference)
    if found is not None:
        return direction_of(found, choices)
    found = result.comparison(measure, choices.reference, system)
    return 0 if found is None else -direction_of(found, choices)


def _not_compared(evaluation: Evaluation, choices: Choices) -> str:
    """Those whose lack of a sign says nothing."""
    pairs = [{one.first, one.second} for each in evaluation.collections for one in each.comparisons]
    compared = set[str]().union(*(pair for pair in pairs if choices.reference in pair), {choices.reference})
    others = [system for system in evaluation.systems if system not in compared]
    return f" Not compared with it, so without a sign: {', '.join(others)}." if others else ""


def direction_of(comparison: Comparison, choices: Choices) -> int:
    """1 where the first system is significantly better, -1 where it is worse, else 0."""
    p = comparison.randomisation_holm if choices.test == "randomisation" else comparison.t_holm
    if p >= choices.alpha or not comparison.difference:
        return 0
    return 1 if comparison.difference > 0 else -1


def mark_of(direction: int, first: str, second: str) -> Mark:
    """The sign of a `direction_of` two systems."""
    if not direction:
        return "", ""
    word = "better" if direction > 0 else "worse"
    return BETTER if direction > 0 else WORSE, f"{first} is significantly {word} than {second}"


def _counted_mark(evaluation: Evaluation, choices: Choices, system: str, measure: str) -> Mark:
    found = [significant(one, choices, system, measure) for one in evaluation.collections]
    counts = [(BETTER, "better", found.count(1)), (WORSE, "worse", found.count(-1))]
    signs = "".join(f"{sign}{count}" for sign, _, count in counts if count)
    words = ", ".join(f"significantly {word} than {choices.reference} on {count}" for _, word, count in counts if count)
    return signs, f"{words} of {len(found)} collections" if words else ""


def _results(
    caption: str,
    measures: Sequence[str],
    means: Mapping[str, Mapping[str, float]],
    costs: Mapping[str, Costs | None],
    marks: Mapping[tuple[str, str], Mark],
) -> Table:
    by_column = []
    for measure in measures:
        values = {system: own.get(measure) for system, own in means.items()}
        cells = column_cells({system: _three(value) for system, value in values.items()}, values, "most")
        by_column.append({system: with_mark(cells[system], *marks[system, measure]) for system in means})
    columns = COST_COLUMNS if any(one is not None for one in costs.values()) else ()
    for column in columns:
        shown = {system: DASH if one is None else column.shown(one) for system, one in costs.items()}
        values = {system: None if one is None else column.value(one) for system, one in costs.items()}
        by_column.append(column_cells(shown, values, column.best))
    titles = [*measures, *(column.title for column in columns)]
    rows = [[Cell(system), *(cells[system] for cells in by_column)] for system in means]
    return Table(caption, [Column("system", False), *map(Column, titles)], rows)


def column_cells(shown: Mapping[str, str], values: Mapping[str, float | None], best: Best) -> dict[str, Cell]:
    """A column. Equal as shown is equal, since nobody can see which is better; where all are, none is the best."""
    known = {system: value for system, value in values.items() if value is not None}
    if best is None or len({shown[system] for system in known}) < 2:
        return {system: Cell(text) for system, text in shown.items()}
    first = (min if best == "least" else max)(known.values())
    texts = {shown[system] for system, value in known.items() if value == first}
    return {system: Cell(text, text in texts) for system, text in shown.items()}


def _three(value: float | None) -> str:
    return DASH if value is None else f"{value:.3f}"


def with_mark(cell: Cell, sign: str, meaning: str) -> Cell:
    """The cell with a sign behind it."""
    return replace(cell, mark=sign, meaning=meaning)


def _has_gaps(evaluation: Evaluation) -> bool:
    every = [one.costs for each in evaluation.collections for one in each.systems]
    if all(one is None for one in every):
        return False
    return any(one is None or DASH in (column.shown(one) for column in COST_COLUMNS) for one in every)
