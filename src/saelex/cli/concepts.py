"""`saelex concepts` and `saelex concept`: which concepts a text has, and all that is known of one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saelex.cli.options import Json, Moved, Reader, open_index, print_json, say_where_lacking


def concepts(
    path: Annotated[Path, typer.Argument(metavar="INDEX", help="An index.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Any text.")],
    document: Annotated[bool, typer.Option("--document", help="Encode it as a document, not as a query.")] = False,
    language: Reader = None,
    model: Moved = None,
    json: Json = False,
) -> None:
    """Which concepts fire in a text: id, weight, label, the words they fire at, and how often they do in the index."""
    with open_index(path, model) as index:
        fired = index.concepts_in(text, side="document" if document else "query", language=language)
        say_where_lacking(index, language)
    if json:
        print_json({"text": text, "concepts": [concept._asdict() for concept in fired]})
        return
    for concept in fired:
        words = ", ".join([*concept.words, *(f"near {word}" for word in concept.context)])
        number = f"#{concept.latent}"
        typer.echo(f"{number:>8} {concept.weight:7.3f}  {concept.density:6.2%}  {concept.label}  ({words})")


def concept(
    path: Annotated[Path, typer.Argument(metavar="INDEX", help="An index.")],
    name: Annotated[str, typer.Argument(metavar="CONCEPT", help="Its id, or a label that is one concept's.")],
    language: Reader = None,
    model: Moved = None,
    json: Json = False,
) -> None:
    """All that is known of one concept: label, evidence, examples, how often it fires, its neighbours."""
    with open_index(path, model) as index:
        view = index.concept(index.concept_named(name), language=language)
        say_where_lacking(index, language)
    if json:
        print_json(view.to_json())
    else:
        from saelex.cli.show import show_concept

        show_concept(view)
