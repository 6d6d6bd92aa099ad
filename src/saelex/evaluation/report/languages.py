"""What the report of an evaluation over languages says: means, heat maps, latents across languages, one index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from saelex.evaluation.languages.latents import BOUND, LEAST_FIRINGS, LatentsByLanguage
from saelex.evaluation.languages.matrix import LanguageEvaluation, LanguageMatrix, MixedIndex
from saelex.evaluation.languages.sets import Pair
from saelex.evaluation.report.blocks import DASH, Block, Cell, Column, Paragraph, Report, Section, Table
from saelex.evaluation.report.choices import EVALUATION, TESTS, Choices
from saelex.evaluation.report.content import origin_of
from saelex.evaluation.report.tables import BETTER, WORSE, column_cells, direction_of, mark_of, with_mark
from saelex.evaluation.significance import ALPHA


def language_report_of(evaluation: LanguageEvaluation) -> Report:
    """The whole report."""
    facts, measures = evaluation.facts, evaluation.measures
    choices = Choices(measures, measures[0], facts["reference"], None, "randomisation", ALPHA)
    kept = f"All measures of every system and pair of languages are in {EVALUATION}, beside this page."
    sections = [
        *(Section(one.name, list(_set(one, evaluation.systems, choices))) for one in evaluation.matrices),
        origin_of(facts, kept),
    ]
    names = ", ".join(one.name for one in evaluation.matrices)
    return Report(f"Evaluation over languages: {names}", _lead(evaluation), sections)


def _lead(evaluation: LanguageEvaluation) -> str:
    systems = evaluation.systems
    pairs = sum(len(one.cells) for one in evaluation.matrices)
    date = evaluation.facts.get("date")
    return (
        f"{len(systems)} systems ({', '.join(systems)}) on {pairs} pairs of a language of queries and one of "
        f"documents{f', {date}' if date else ''}."
    )


def _set(matrix: LanguageMatrix, systems: Sequence[str], choices: Choices) -> Iterator[Block]:
    yield Section("Means over pairs of languages", list(_means(matrix, systems, choices)))
    yield Section("Every pair of languages", list(_heat_maps(matrix, systems, choices.measure)))
    if matrix.latents:
        yield Section("Latents across languages", list(_latents(matrix.latents)))
    if matrix.mixed is not None:
        yield Section("One index of all languages", list(_mixed(matrix, matrix.mixed, choices.measure)))


def _means(matrix: LanguageMatrix, systems: Sequence[str], choices: Choices) -> Iterator[Block]:
    columns = [Column("system", False), *(Column(f"{one.name} ({len(one.pairs)})") for one in matrix.groups)]
    for measure in choices.measures:
        by_column = []
        for group in matrix.groups:
            values = {system: group.measures[system][measure] for system in systems}
            cells = column_cells({system: _three(value) for system, value in values.items()}, values, "most")
            for system in systems:
                compared = group.comparison(measure, system, choices.reference)
                direction = 0 if compared is None else direction_of(compared, choices)
                cells[system] = with_mark(cells[system], *mark_of(direction, system, choices.reference))
            by_column.append(cells)
        rows = [[Cell(system), *(cells[system] for cells in by_column)] for system in systems]
        yield Table(f"{measure}, means over so many pairs", columns, rows)
    yield Paragraph(
        f"{matrix.n_queries:,} queries in each language. Each pair counts alike. {BETTER} significantly better than "
        f"{choices.reference}, {WORSE} significantly worse: two-sided {TESTS[choices.test]} over queries, each with "
        f"its translations as one, Holm-corrected over the systems, α = {choices.alpha:g}.",
        note=True,
    )
    columns = [Column("language of documents", False), Column("documents"), Column("words", False)]
    rows = [[Cell(code), Cell(f"{count:,}"), Cell(matrix.words[code])] for code, count in matrix.n_documents.items()]
    yield Table("What is searched, and whose rules cut words beside concepts", columns, rows)


def _heat_maps(matrix: LanguageMatrix, systems: Sequence[str], measure: str) -> Iterator[Block]:
    every = {system: matrix.values(system, measure) for system in systems}
    of_all = [value for values in every.values() for value in values.values()]
    low, high = min(of_all), max(of_all)
    yield Paragraph("Rows: the language of the queries. Columns: that of the documents. One scale for all.", note=True)
    for system, values in every.items():
        shown = {pair: Cell(_three(value), heat=_share(value, low, high)) for pair, value in values.items()}
        yield _square(f"{system}: {measure}", matrix.query_languages, matrix.document_languages, shown)


def _latents(models: Mapping[str, LatentsByLanguage]) -> Iterator[Block]:
    yield Paragraph(
        "Jaccard overlap of the active latents of a document with those of its translation, and, behind the stroke, of "
        f"other documents in that language, which is chance. Language-bound: {BOUND:.0%} or more of a latent's firings "
        f"are in one language; latents that fire in fewer than {LEAST_FIRINGS} documents are not counted.",
        note=True,
    )
    for name, latents in models.items():
        codes = list(latents.bound)
        high = max(one.translations for one in latents.overlaps)
        shown = {}
        for one in latents.overlaps:
            text = f"{_three(one.translations)} / {_three(one.others)}"
            cell = Cell(text, heat=_share(one.translations, 0, high))
            shown[one.first, one.second] = shown[one.second, one.first] = cell
        caption = f"{name}: overlap with a translation / with others, {latents.documents:,} documents"
        yield _square(caption, codes, codes, shown)
        columns = [Column("latents", False), *map(Column, ("counted", "language-bound", "of all firings", *codes))]
        bound = (f"{latents.bound_share:.1%}", f"{latents.bound_firings:.1%}")
        counts = (f"{latents.counted:,}", *bound, *(f"{latents.bound[code]:,}" for code in codes))
        yield Table(f"{name}: latents bound to a language", columns, [[Cell(name), *map(Cell, counts)]])


def _mixed(matrix: LanguageMatrix, mixed: MixedIndex, measure: str) -> Iterator[Block]:
    rows = [
        [Cell(system), *(Cell(_three(mixed.measures[code][system][measure])) for code in matrix.query_languages)]
        for system in mixed.shares
    ]
    columns = [Column("system", False), *map(Column, matrix.query_languages)]
    yield Table(f"{measure} by language of the queries; a relevant document counts in every language", columns, rows)
    even = f"{1 / len(matrix.document_languages):.0%}"
    yield Paragraph(f"How the first {mixed.places} places are shared out; {even} each is even.", note=True)
    high = max(share for of in mixed.shares.values() for row in of.values() for share in row.values())
    for system, of in mixed.shares.items():
        shown = {
            (query, code): Cell(f"{share:.0%}", heat=_share(share, 0, high))
            for query, row in of.items()
            for code, share in row.items()
        }
        caption = f"{system}: share of the first {mixed.places} places"
        yield _square(caption, matrix.query_languages, matrix.document_languages, shown)


def _square(caption: str, rows: Sequence[str], columns: Sequence[str], shown: Mapping[Pair, Cell]) -> Table:
    """A heat map; a pair without a value is a dash."""
    cells = [[Cell(row), *(shown.get((row, column), Cell(DASH)) for column in columns)] for row in rows]
    return Table(caption, [Column("", False), *map(Column, columns)], cells)


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.0


def _three(value: float) -> str:
    return f"{value:.3f}"
