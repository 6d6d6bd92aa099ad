"""`saelex push`: an index, or a corpus that is indexed for it, to an engine."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saelex.cli.logs import say
from saelex.cli.options import DEFAULT_MODEL, load_encoder, open_index, stopping_in_order
from saelex.errors import InputError
from saelex.files import absolute, cache_folder, expanded, state_of

if TYPE_CHECKING:
    from saelex.engines.push import PushReport
    from saelex.index.index import Index


def push(
    source: Annotated[
        str,
        typer.Argument(metavar="INDEX|CORPUS", help="An index that keeps forward rows, or what `saelex index` takes."),
    ],
    url: Annotated[str, typer.Argument(metavar="URL", help="An engine, as in qdrant://localhost:6333/notes.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help=f"Of a corpus, {DEFAULT_MODEL} unless given; of an index its own, where it has moved."
        ),
    ] = None,
    patience: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Ask an engine that does not answer again for so long.")
    ] = 60.0,
) -> None:
    """Make an engine hold what an index holds: send what is new or changed, delete what is gone.

    A push that was interrupted goes on when it is started again. A corpus is indexed in the user's cache folder first,
    as its words are weighed by all of it; that index goes when the push is through. docs/engines.md names engines and
    URLs; SAELEX_ENGINE_PASSWORD holds a password or key.
    """
    from saelex.engines.registry import store_class
    from saelex.engines.url import EngineUrl

    parsed = EngineUrl.parse(url)
    store_class(parsed)  # what cannot be is said before anything is encoded
    with stopping_in_order():
        if (expanded(source) / "catalog.sqlite").is_file():
            with open_index(expanded(source), model) as index:
                report = _push(index, url, patience)
        else:
            report = _push_corpus(source, url, model or DEFAULT_MODEL, patience)
    typer.echo(f"{parsed}: {report}")


def _push(index: Index, url: str, patience: float) -> PushReport:
    from saelex.engines.push import push as push_index

    return push_index(index, url, patience=patience, progress=True)


def _push_corpus(source: str, url: str, model: str, patience: float) -> PushReport:
    from saelex.corpus.reading import read_corpus
    from saelex.index.index import Index

    if source == "-":
        raise InputError("a push can be interrupted and standard input not read again; index it first: saelex index -")
    documents = read_corpus(source)
    folder = cache_folder() / "push" / _name(source, url, model)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        say(f"going on with what was encoded before, in {folder}")
    with Index.at(folder, lambda: load_encoder(model)) as index:
        try:
            index.fill(documents, resume=True, progress=True)
        except InputError as error:
            raise InputError(
                f"{error}; if the corpus has changed since an earlier push began, remove {folder}"
            ) from error
        report = _push(index, url, patience)
    shutil.rmtree(folder)
    return report


def _name(source: str, url: str, model: str) -> str:
    """Of the work in progress: the same for the same command, another one when the file has changed."""
    path = absolute(source) if Path(source).exists() else None
    state = state_of(path) if path is not None and path.is_file() else []
    return hashlib.sha256(repr((str(path or source), state, url, model)).encode()).hexdigest()[:24]
