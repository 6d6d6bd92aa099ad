"""An evaluation over languages as `saelex evaluate --languages` prints it: means, then a heat map for every system."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saelex.cli.evaluation_rows import MARK
from saelex.cli.tables import new_table, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from saelex.evaluation.languages.matrix import LanguageEvaluation, LanguageMatrix

_COLD, _HOT = (239, 243, 247), (0, 114, 178)  # of the house style's blue, light to full


def print_languages(evaluation: LanguageEvaluation) -> None:
    """Every set's tables, and what their marks mean."""
    for matrix in evaluation.matrices:
        _print_means(matrix, evaluation)
        for system in evaluation.systems:
            _print_heat(matrix, system, evaluation)
        _print_latents(matrix)
        _print_mixed(matrix, evaluation)


def _print_means(matrix: LanguageMatrix, evaluation: LanguageEvaluation) -> None:
    from saelex.evaluation.significance import ALPHA

    measure, reference = evaluation.measures[0], evaluation.facts["reference"]
    table = new_table([f"{matrix.name}: {measure}"], [f"{one.name} ({len(one.pairs)})" for one in matrix.groups])
    best = [max(one.measures[system][measure] for system in evaluation.systems) for one in matrix.groups]
    for system in evaluation.systems:
        cells = []
        for group, most in zip(matrix.groups, best):
            comparison = group.comparison(measure, system, reference)
            marked = comparison is not None and comparison.randomisation_holm < ALPHA
            value = group.measures[system][measure]
            cells.append(_text(_three(value) + (MARK if marked else " "), style="bold" if value == most else ""))
        table.add_row(system, *cells)
    sizes = sorted(set(matrix.n_documents.values()))
    documents = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    notes = [
        f"{matrix.n_queries:,} queries and {documents} documents in each language. Means over pairs of languages, as "
        f"many as in brackets, each counting alike. {MARK} differs from {reference}: p < {ALPHA:g} in the two-sided "
        "paired randomisation test over queries, each with its translations; Holm-corrected over the systems.",
        "words beside concepts: " + ", ".join(f"{code} {words}" for code, words in matrix.words.items()) + ".",
    ]
    print_table(table, notes)


def _print_heat(matrix: LanguageMatrix, system: str, evaluation: LanguageEvaluation) -> None:
    """Rows are the queries' languages, columns the documents'; darker is higher, over all systems alike."""
    measure = evaluation.measures[0]
    of_all = [value for one in evaluation.systems for value in matrix.values(one, measure).values()]
    low, high = min(of_all), max(of_all)
    values = matrix.values(system, measure)
    table = new_table([f"{system}: {measure}"], matrix.document_languages)
    for query in matrix.query_languages:
        row = [values[query, document] for document in matrix.document_languages]
        table.add_row(query, *(_text(_three(one), style=_heat(one, low, high)) for one in row))
    print_table(table)


def _print_latents(matrix: LanguageMatrix) -> None:
    from saelex.evaluation.languages.latents import BOUND, LEAST_FIRINGS

    if not matrix.latents:
        return
    table = new_table(
        ["latents"],
        ["of a translation", "of others", "least, pair", "language-bound", "of their firings", "counted"],
    )
    for name, latents in matrix.latents.items():
        least = min(latents.overlaps, key=lambda one: one.translations)
        table.add_row(
            name,
            _three(_mean([one.translations for one in latents.overlaps])),
            _three(_mean([one.others for one in latents.overlaps])),
            f"{_three(least.translations)} {least.first}-{least.second}",
            f"{latents.bound_share:.1%}",
            f"{latents.bound_firings:.1%}",
            f"{latents.counted:,}",
        )
    documents = next(iter(matrix.latents.values())).documents
    note = (
        f"Jaccard overlap of the active latents of {documents:,} documents with those of their translations, and of "
        f"other documents in that language, which is chance: means over pairs of languages. Language-bound: latents "
        f"with {BOUND:.0%} or more of their firings in one language, of those that fire in {LEAST_FIRINGS} documents "
        "or more."
    )
    print_table(table, [note])


def _print_mixed(matrix: LanguageMatrix, evaluation: LanguageEvaluation) -> None:
    if matrix.mixed is None:
        return
    measure, mixed = evaluation.measures[0], matrix.mixed
    table = new_table([f"one index: {measure}"], matrix.query_languages)
    for system in mixed.shares:
        table.add_row(system, *(_three(mixed.measures[query][system][measure]) for query in matrix.query_languages))
    print_table(table, ["One index of all languages; a relevant document counts in every language."])
    even = f"{1 / len(matrix.document_languages):.0%}"
    note = f"Each language's share of the first {mixed.places} places; {even} each is even."
    for system, shares in mixed.shares.items():
        table = new_table([f"{system}: places"], matrix.document_languages)
        high = max(value for of in shares.values() for value in of.values())
        for query, of in shares.items():
            cells = (_text(f"{of[code]:.0%}", style=_heat(of[code], 0, high)) for code in matrix.document_languages)
            table.add_row(query, *cells)
        print_table(table, [note] if system == list(mixed.shares)[-1] else [])


def _heat(value: float, low: float, high: float) -> str:
    """Dark letters on light cells, light ones on dark; a stream that is no terminal shows none of it."""
    share = (value - low) / (high - low) if high > low else 0.0
    red, green, blue = (round(cold + (hot - cold) * share) for cold, hot in zip(_COLD, _HOT))
    return f"{'white' if share > 0.6 else 'black'} on rgb({red},{green},{blue})"


def _text(text: str, style: str) -> Text:
    from rich.text import Text

    return Text(text, style=style)


def _three(value: float) -> str:
    return f"{value:.3f}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
