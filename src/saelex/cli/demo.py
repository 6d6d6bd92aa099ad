"""`saelex demo`: this Python's own documentation, indexed once and searched, with reasons."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saelex.cli.logs import say
from saelex.cli.options import DEFAULT_MODEL, Json, load_encoder, print_json, stopping_in_order
from saelex.cli.serve import HOST, check_installed, serve_indexes
from saelex.encoder.words.languages import DEFAULT_LANGUAGE
from saelex.errors import InputError

if TYPE_CHECKING:
    from saelex.encoder.encoder import Encoder
    from saelex.index.index import Index

QUESTIONS = {
    "en": (
        "how do I read a zip archive?",
        "run a shell command and capture what it prints",
        "delete a folder with everything in it",
        "wait until several tasks have finished",
        "what is the average of a list of numbers?",
    ),
    "de": (
        "Wie lese ich ein Zip-Archiv?",
        "einen Ordner mit allem löschen, was darin ist",
        "Wie berechne ich den Durchschnitt einer Liste von Zahlen?",
    ),
    "es": (
        "¿Cómo leo un archivo comprimido zip?",
        "borrar una carpeta con todo su contenido",
        "¿Cuál es el promedio de una lista de números?",
    ),
    "ru": (
        "Как прочитать zip-архив?",
        "удалить папку со всем её содержимым",
        "Как найти среднее значение списка чисел?",
    ),
    "zh": ("如何读取 zip 压缩文件？", "删除文件夹及其中的所有内容", "如何计算一组数字的平均值？"),
}
"""Prepared ones by language; the documentation is English for all of them."""
MULTILINGUAL = "saelex-multilingual"
SERVED_AS = "python"
"""The demo's index has this name where it is served."""


def demo(
    question: Annotated[
        str | None, typer.Argument(metavar="QUESTION", help="Your own question; without one, a few are asked.")
    ] = None,
    k: Annotated[
        int | None, typer.Option("-k", "--hits", min=1, help="Hits per question: 5, or 3 of each prepared one.")
    ] = None,
    language: Annotated[
        str,
        typer.Option(
            "--language",
            metavar="CODE",
            help=f"Of the questions: {', '.join(QUESTIONS)}, or any other with your own QUESTION. All but en take the "
            f"model {MULTILINGUAL}, which finds the English texts by questions in other languages.",
        ),
    ] = DEFAULT_LANGUAGE,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve it on this machine, with a page to search and steer in a browser.")
    ] = False,
    json: Json = False,
) -> None:
    """Search the documentation of this Python by concepts; every hit says why.

    The first run indexes some 6,000 texts under your cache folder; later ones answer at once.
    """
    if question is None and language not in QUESTIONS:
        known = ", ".join(QUESTIONS)
        raise InputError(f"the demo has no questions in {language!r}, only in {known}; ask one of your own")
    if serve:
        if question is not None or k is not None or json:
            raise InputError("--serve asks nothing; leave out QUESTION, -k and --json")
        check_installed()
    encoder = load_encoder(DEFAULT_MODEL if language == DEFAULT_LANGUAGE else MULTILINGUAL)
    path = demo_path(encoder)
    with open_demo(path, encoder) as index:
        if serve:
            _serve(index)
            return
        questions = [question] if question is not None else list(QUESTIONS[language])
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
        typer.echo(f"See it:       saelex serve {SERVED_AS}={path}")


def _serve(index: Index) -> None:
    from saelex.server.running import allowed_hosts
    from saelex.server.settings import Settings

    serve_indexes({SERVED_AS: index}, Settings(allowed_hosts=allowed_hosts(HOST, (), key=False)))


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
            say(f"indexing the documentation of Python {platform.python_version()} into {path}")
            with stopping_in_order():
                index.fill(list(python_documentation()), resume=True, progress=True)
        except BaseException:
            index.close()
            raise
    return index
