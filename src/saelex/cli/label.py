"""`saelex label`: what the latents of an index mean, derived from its own documents, and how true that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saelex.cli.options import show_progress

if TYPE_CHECKING:
    from saelex.concepts.judging import LabelReport
    from saelex.concepts.labels import Firing
    from saelex.index.index import Index


def label(
    path: Annotated[Path, typer.Argument(metavar="INDEX", help="An index.")],
    judge: Annotated[bool, typer.Option(help="Judge the labels on held-out documents.")] = True,
) -> None:
    """Derive labels of the concepts from the index's documents, without a language model, and store them beside it."""
    from saelex.index.index import Index

    with Index.open(path) as index:
        if judge:
            typer.echo(str(judged(index)))
        typer.echo(f"{path}: {label_index(index)} concepts have a label")


def label_index(index: Index) -> int:
    """Derive labels from all documents and store them; returns how many concepts have one."""
    from saelex.concepts.labels import derive_labels

    found = derive_labels(firings(index, "labels"), index.encoder.n_latents, language=_language(index))
    return len(index.write_concepts(found))


def judged(index: Index) -> LabelReport:
    """How well labels from four fifths of the documents predict where their latents fire in the others."""
    from saelex.concepts.judging import held_out, judge_labels
    from saelex.concepts.labels import derive_labels

    language = _language(index)
    seen = firings(index, "labels of 80 %", lambda name: not held_out(name))
    concepts = list(derive_labels(seen, index.encoder.n_latents, language=language))
    return judge_labels(concepts, firings(index, "judging", held_out), language=language)


def firings(index: Index, title: str, wanted: Callable[[str], bool] = lambda name: True) -> Iterator[Firing]:
    """Which latents fire where in the index's passages; words are left out."""
    from tqdm import tqdm

    from saelex.concepts.labels import Firing

    n_latents = index.encoder.n_latents
    with tqdm(desc=title, unit="passage", disable=not show_progress(), leave=False) as bar:
        for chunk in index.stored():
            for i, (name, text) in enumerate(zip(chunk.ids, chunk.texts)):
                if wanted(name):
                    row = chunk.rows[i]
                    row = row.keep(row.latents < n_latents)
                    spans = index.encoder.token_spans(text, "document")
                    yield Firing(name, text, row.latents, row.weights, row.positions, spans)
            bar.update(len(chunk.ids))


def _language(index: Index) -> str:
    words = index.settings["words"]
    return "en" if words is None else str(words["language"])
