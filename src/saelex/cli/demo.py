"""`saelex demo`: this Python's own documentation, indexed once and searched, with reasons."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saelex.cli.options import DEFAULT_MODEL, Json, load_encoder, print_json, stopping_in_order

if TYPE_CHECKING:
    from saelex.encoder.encoder import Encoder
    from saelex.index.index import Index

QUESTIONS = (
    "how do I read a zip archive?",
    "run a shell command and capture what it prints",
    "delete a folder with everything in it",
    "wait until several tasks have finished",
    "what is the average of a list of numbers?",
)


def demo(
    question: Annotated[
        str | None, typer.Argument(metavar="QUESTION", help="Your own question; without one, a few are asked.")
    ] = None,
    k: Annotated[
        int | None, typer.Option("-k", "--hits", min=1, help="Hits per question: 5, or 3 of each prepared one.")
    ] = None,
    json: Json = False,
) -> None:
    """Search the documentation of this Python by concepts; every hit says why.

    The first run indexes some 6,000 texts under your cache folder; later ones answer at once.
    """
    encoder = load_encoder(DEFAULT_MODEL)
    path = demo_path(encoder)
    with open_demo(path, encoder) as index:
        questions = [question] if question is not None else list(QUESTIONS)
        hits = k or (5 if question is not None else 3)
        found = [index.search(asked, hits) for asked in questions]
        if json:
            from saelex.index.hits import hits_to_json

            answers = [hits_to_json(asked, each) for asked, each in zip(questions, found)]
            print_json(answers[0] if question is not None else answers)
            return
        from saelex.cli.show import show_hits

        for asked, each in zip(questions, found):
            show_hits(asked, each, explain=True)
    if question is None:
        typer.echo('Ask your own: saelex demo "how do I ...?"')
        typer.echo(f'Steer it:     saelex search {path} "open a file" --explain --boost zip=3')


def demo_path(encoder: Encoder) -> Path:
    """Where the demo's index lies: one for every version of Python, encoder, way to cut words and format of indexes."""
    from saelex.encoder.words import channel
    from saelex.files import cache_folder
    from saelex.index.disk import catalog

    parts = ["python", platform.python_version(), encoder.fingerprint[:12], channel.FORMAT, catalog.FORMAT]
    return cache_folder() / "demo" / "-".join(parts).replace("/", "-")


def open_demo(path: Path, encoder: Encoder) -> Index:
    """The demo's index, made or completed first where need be: labels come last, so an index with labels is whole."""
    from saelex.index.index import Index

    index = Index.at(path, encoder)
    if index.concepts is None:
        from saelex.corpus.python_docs import python_documentation

        try:
            typer.echo(f"indexing the documentation of Python {platform.python_version()} into {path}", err=True)
            with stopping_in_order():
                index.fill(list(python_documentation()), resume=True, progress=True)
        except BaseException:
            index.close()
            raise
    return index
