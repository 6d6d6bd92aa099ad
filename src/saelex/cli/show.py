"""Hits in a terminal: coloured with bars where somebody reads them, plain lines where a program does."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from saelex.concepts.explanation import Contribution, Explanation
    from saelex.concepts.snippet import Snippet
    from saelex.index.concept_views import ConceptView
    from saelex.index.hits import Hit

REASONS = 5  # contributions shown of a hit; one more row sums up the rest
_BAR = 8  # columns of the longest bar


def show_hits(query: str, hits: Sequence[Hit], explain: bool) -> None:
    """Print the hits of a query, each at what matched; with their reasons, if wanted."""
    explained = [(hit, hit.explain()) for hit in hits]
    if sys.stdout.isatty():
        _show_rich(query, explained, explain)
    else:
        _show_plain(query, explained, explain)


def show_explanation(explanation: Explanation) -> None:
    """Print every label's contribution to one hit's score, with the ids of its latents."""
    if not sys.stdout.isatty():
        typer.echo(f"{explanation.document_id}  {explanation.score:.3f}  for {explanation.query!r}")
        for row in explanation.by_label:
            typer.echo(_plain_reason(row, numbered=True))
        for label in _counted(explanation.banned):
            typer.echo(f"      banned  {label}")
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(f"[bold]{explanation.score:.3f}[/]", _escaped(explanation.document_id), style="default")
    _print_reasons(console, explanation.by_label, explanation.banned, numbered=True)


def show_concept(view: ConceptView) -> None:
    """Print all that is known of one concept."""
    known = view.concept
    published = None if known is None else known.published
    user = known is not None and known.source == "user"
    source = " (named by a user)" if user else " (published)" if published and view.label == published.text else ""
    typer.echo(f"#{view.latent}  {view.label}{source}")
    typer.echo(f"  fires in {view.density:.2%} of the passages")
    if known is not None and published is not None:
        author = f" (by {published.author})" if published.author else ""
        typer.echo(f"  published: {published.text}{author}  {view.page}")
        if known.source == "derived":
            typer.echo(f"  derived: {known.label}")
    for language, label in ({} if known is None else known.labels).items():
        typer.echo(f"  in {language}: {label}")
    if known is not None and known.evidence:
        typer.echo("  evidence: " + ", ".join(f"{word} ({strength:.1f})" for word, strength in known.evidence[:10]))
    for example in () if known is None else known.examples:
        marked = example.passage.replace(example.word, f"[{example.word}]", 1)
        typer.echo(f"  {example.weight:8.3f}  {example.document_id}: {marked}")
    for title, near in (("near it", view.neighbours), ("fires with", view.fires_with)):
        for latent, label, value in near:
            typer.echo(f"  {title:<10}  {value:5.2f}  {label} #{latent}")


def _counted(labels: Sequence[str]) -> list[str]:
    """Each label once, with how many latents carry it."""
    return [f"{label} (x{times})" if times > 1 else label for label, times in Counter(labels).items()]


# ---- plain ----------------------------------------------------------------------------------------------------------


def _show_plain(query: str, explained: Sequence[tuple[Hit, Explanation]], explain: bool) -> None:
    typer.echo(f"? {query}")
    if not explained:
        typer.echo("  no hits")
    for hit, explanation in explained:
        title = hit.document.title
        typer.echo(f"{hit.rank:>2}  {hit.score:.3f}  {hit.id}{f'  {title}' if title and title != hit.id else ''}")
        typer.echo(f"    {hit.snippet(explanation=explanation)}")
        if explain:
            for row in explanation.top(REASONS):
                typer.echo(_plain_reason(row))
            for label in _counted(explanation.banned):
                typer.echo(f"      banned  {label}")


def _plain_reason(row: Contribution, numbered: bool = False) -> str:
    note = f"  [{row.note}]" if row.note else ""
    fired = f"  ({row.fired})" if row.fired else ""
    return f"    {row.contribution:8.3f}  {row.numbered_label if numbered else row.label}{fired}{note}"


# ---- coloured -------------------------------------------------------------------------------------------------------


def _show_rich(query: str, explained: Sequence[tuple[Hit, Explanation]], explain: bool) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.rule import Rule

    console = Console(highlight=False)
    console.print(Rule(_escaped(query), align="left", style="cyan"))
    if not explained:
        console.print("no hits", style="dim")
    for hit, explanation in explained:
        title = hit.document.title or hit.id
        aside = f"  [dim]{_escaped(hit.id)}[/]" if hit.document.title and not title.startswith(hit.id) else ""
        console.print(f"[cyan]{hit.rank:>2}[/] [bold]{hit.score:6.2f}[/]  [bold]{_escaped(title)}[/]{aside}")
        console.print(Padding(_highlighted(hit.snippet(explanation=explanation)), (0, 0, 0, 11)))
        if explain:
            _print_reasons(console, explanation.top(REASONS), explanation.banned)
        console.print()


def _print_reasons(
    console: Console, rows: Sequence[Contribution], banned: Sequence[str], numbered: bool = False
) -> None:
    from rich.padding import Padding
    from rich.table import Table

    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", style="green", no_wrap=True)
    table.add_column(style="green", no_wrap=True, width=_BAR)
    table.add_column(overflow="fold")
    table.add_column(style="dim", overflow="fold")
    heaviest = max((row.contribution for row in rows if row.latent >= 0), default=1.0) or 1.0
    for row in rows:
        bar = (
            "━" * max(1, round(_BAR * row.contribution / heaviest)) if row.latent >= 0 and row.contribution > 0 else ""
        )
        note = f" [yellow]{_escaped(row.note)}[/]" if row.note else ""
        label = _escaped(row.numbered_label if numbered else row.label) + note
        table.add_row(f"{row.contribution:.2f}", bar, label, _escaped(row.fired))
    for label in _counted(banned):
        table.add_row("", "", f"[strike]{_escaped(label)}[/] [yellow]banned[/]", "")
    console.print(Padding(table, (0, 0, 0, 11)))


def _highlighted(found: Snippet) -> Text:
    from rich.text import Text

    shown = Text(found.text)
    for start, end, _ in found.marks:
        shown.stylize("bold yellow", start, end)
    return shown


def _escaped(text: str) -> str:
    """Text in which nothing is taken for rich's markup."""
    from rich.markup import escape

    return escape(text)
