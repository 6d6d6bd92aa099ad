"""What a report says, in order: all of it comes from the evaluation and the examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from saelex.concepts.explanation import Explanation
from saelex.evaluation.drawing.pages import cut
from saelex.evaluation.report.blocks import (
    DASH,
    Block,
    Cell,
    Code,
    Column,
    Figure,
    Paragraph,
    Report,
    Section,
    Table,
)
from saelex.evaluation.report.choices import EVALUATION, Choices, collection_key, depth_of_runs
from saelex.evaluation.report.costs_shown import costs_by_system
from saelex.evaluation.report.examples import Examples, ExplainedHit, QueryExample, differences
from saelex.evaluation.report.plots import Priced, differences_picture, quality_picture
from saelex.evaluation.report.tables import collection_table, collections_table, comparison_table, legend, means_table
from saelex.evaluation.results import CollectionResult, Evaluation
from saelex.evaluation.significance import PERMUTATIONS

_REASONS = 5  # contributions shown of a hit; one more row sums up the rest
_NAMED = 3  # collections that a title names

TIE_RULE = (
    "Measures are those of ir_measures, per query and as means over all judged queries; a query that a system does not "
    "answer counts as 0. Ties: the higher score comes first, then the smaller document id as a string, for every "
    "system alike."
)


def report_of(evaluation: Evaluation, choices: Choices, examples: Examples | None) -> Report:
    """The whole report."""
    kept = f"Every system's run and its values per query are in {EVALUATION}, beside this page."
    sections = [
        Section("Results", list(_results(evaluation, choices))),
        *_collections(evaluation, choices),
        *_comparisons(evaluation, choices),
        *_queries(evaluation, choices, examples),
        origin_of(evaluation.facts, kept),
    ]
    return Report(_title(evaluation), _lead(evaluation), sections)


def _title(evaluation: Evaluation) -> str:
    names = [collection_key(one) for one in evaluation.collections]
    return f"Evaluation on {', '.join(names) if len(names) <= _NAMED else f'{len(names)} collections'}"


def _lead(evaluation: Evaluation) -> str:
    systems = evaluation.systems
    queries = sum(one.n_queries for one in evaluation.collections)
    documents = sum(one.n_documents for one in evaluation.collections)
    date = evaluation.facts.get("date")
    return (
        f"{len(systems)} system{'s' if len(systems) != 1 else ''} ({', '.join(systems)}) on {queries:,} judged queries "
        f"and {documents:,} documents{f', {date}' if date else ''}."
    )


def _results(evaluation: Evaluation, choices: Choices) -> Iterator[Block]:
    alone = len(evaluation.collections) == 1
    yield collection_table(evaluation.collections[0], choices) if alone else means_table(evaluation, choices)
    yield from legend(evaluation, choices)
    costs = costs_by_system(evaluation)
    priced = [
        Priced(system, values[choices.measure], None if (cost := costs[system]) is None else cost.qd_flops)
        for system, values in evaluation.means().items()
    ]
    n_collections = len(evaluation.collections)
    over = collection_key(evaluation.collections[0]) if alone else f"means over {n_collections} collections"
    figure = quality_picture(choices.measure, priced, over)
    if figure is not None:
        yield figure


def _collections(evaluation: Evaluation, choices: Choices) -> Iterator[Section]:
    if len(evaluation.collections) > 1:
        tables = [collection_table(one, choices) for one in evaluation.collections]
        yield Section("Collections", [collections_table(evaluation), *tables])


def _comparisons(evaluation: Evaluation, choices: Choices) -> Iterator[Section]:
    tables = [comparison_table(one, choices) for one in evaluation.collections if one.comparisons]
    if tables:
        note = Paragraph(
            "Difference: mean of the first system less that of the second. Wins, losses, ties: of the first system, by "
            "query. p-values are two-sided, of Student's paired t-test and of Fisher's paired randomisation test "
            f"({PERMUTATIONS:,} sign flips of a fixed seed; all flips where few queries differ). Holm: corrected over "
            "the comparisons of a collection and measure.",
            note=True,
        )
        yield Section("Pairwise comparisons", [note, *tables])


# ---- query by query -------------------------------------------------------------------------------------------------


def _queries(evaluation: Evaluation, choices: Choices, examples: Examples | None) -> Iterator[Section]:
    if choices.pair is None:
        return
    first, second = choices.pair
    depth = depth_of_runs(evaluation)
    gathered = {} if examples is None else {one.collection: one for one in examples.collections}
    parts = []
    for number, result in enumerate(evaluation.collections, start=1):
        key = collection_key(result)
        found = gathered.get(key)
        blocks: list[Block] = [_differences(number, result, choices.measure, choices.pair)]
        for title, shown in (
            (f"Largest gains of {first} over {second}", found.gains if found else []),
            (f"Largest losses of {first} against {second}", found.losses if found else []),
        ):
            if shown:
                blocks.append(Section(title, [_query(one, choices, depth) for one in shown]))
        parts.append(Section(key, blocks))
    yield Section(f"Query by query: {first} against {second}", parts)


def _differences(number: int, result: CollectionResult, measure: str, pair: tuple[str, str]) -> Figure:
    return differences_picture(number, collection_key(result), measure, pair, differences(result, measure, *pair))


def _query(example: QueryExample, choices: Choices, depth: int) -> Section:
    assert choices.pair is not None  # there are examples of a pair only
    first, second = choices.pair
    values = (
        f"{choices.measure}: {first} {example.first:.3f}, {second} {example.second:.3f} "
        f"({example.first - example.second:+.3f}). Query {example.id}."
    )
    columns = [Column("judged document", False), Column("text", False), Column("grade")]
    columns += [Column(f"rank in {first}"), Column(f"rank in {second}")]
    rows = [
        [Cell(one.id), Cell(one.text), Cell(str(one.grade)), Cell(_rank(one.first)), Cell(_rank(one.second))]
        for one in example.documents
    ]
    caption = f"Judged documents ({len(rows)} of {example.judged}); {DASH}: not among the first {depth:,}"
    blocks: list[Block] = [Paragraph(values), Table(caption, columns, rows)]
    for hit in example.hits:
        blocks += _why(hit)
    return Section(f"“{example.text}”", blocks)


def _rank(rank: int | None) -> str:
    return DASH if rank is None else str(rank)


def _why(hit: ExplainedHit) -> Iterator[Block]:
    judged = "not judged" if hit.grade is None else "not relevant" if hit.grade <= 0 else f"relevant, grade {hit.grade}"
    yield Paragraph(f"{hit.system} has {hit.id} ({judged}) at rank {hit.rank}: “{hit.text}”")
    yield _reasons(hit.system, hit.explanation)


def _reasons(system: str, explanation: Explanation) -> Table:
    rows = explanation.top(_REASONS)
    most = max((row.contribution for row in rows), default=0.0) or 1.0
    columns = [Column("latent or word", False), Column("adds"), Column("fired in the query at", False)]
    columns.append(Column("and in the document at", False))
    cells = [
        [
            Cell(row.numbered_label),
            Cell(f"{row.contribution:.3f}", share=min(1.0, max(0.0, row.contribution / most))),
            Cell(_fired(row.fired_query)),
            Cell(_fired(row.fired_document)),
        ]
        for row in rows
    ]
    caption = f"Why: {system}, {explanation.document_id}, score {explanation.score:.3f}"
    return Table(caption, columns, cells)


def _fired(shown: str) -> str:
    return cut(shown, 60) if shown else DASH


# ---- where it comes from --------------------------------------------------------------------------------------------


def origin_of(facts: Mapping[str, Any], kept: str) -> Section:
    """What is needed to repeat an evaluation. kept: says what is in the files beside the page."""
    blocks: list[Block] = []
    if command := facts.get("command"):
        blocks.append(Code(command if isinstance(command, str) else " ".join(map(str, command))))
    blocks += [Paragraph(TIE_RULE), Paragraph(kept)]
    rows = [[Cell(name), Cell(value)] for name, value in _flat(facts) if name != "command"]
    if rows:
        blocks.append(Table("Facts", [Column("fact", False), Column("value", False)], rows))
    return Section("How to repeat it", blocks)


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested values as lines: ("machine: cores", "2")."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}: ")
        elif isinstance(value, (list, tuple)):
            yield f"{prefix}{name}", ", ".join(map(str, value)) or DASH
        else:
            yield f"{prefix}{name}", DASH if value is None else str(value)
