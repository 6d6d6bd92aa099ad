"""An engine's collection back to an index on disk: documents, vectors as they were stored, words, and labels."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from saelex.concepts.store import ConceptStore
from saelex.corpus.documents import Document
from saelex.encoder.words.channel import LexicalSettings
from saelex.engines.engine import Engine
from saelex.engines.entry import Entry, batches
from saelex.errors import SaelexError
from saelex.files import expanded
from saelex.index.index import Index
from saelex.index.passages import Passage
from saelex.index.text_encoder import TextEncoder
from saelex.progress import progress_bar
from saelex.vectors import SparseRows

_DOCUMENTS = 500  # in memory at a time


def pull(url: str, path: str | Path, encoder: TextEncoder | None = None, *, progress: bool = False) -> Index:
    """A new index with what a collection holds, which gives the same hits.

    encoder: None loads the one that made it. Raises InputError where `path` is there already; nothing is left there
    when it fails.
    """
    with Engine.open(url, encoder) as engine:
        settings = engine.contents.settings
        kept = {name: settings[name] for name in ("forward", "bits", "passage_tokens", "passage_overlap", "pruned")}
        words = settings["words"]
        index = Index.create(path, engine.encoder, words=False if words is None else LexicalSettings(**words), **kept)
        try:
            _fill(index, engine, progress)
            if labels := engine.contents.labels_file(engine.store):
                with ConceptStore.open(labels, fingerprint=settings["fingerprint"]) as concepts:
                    index.write_concepts(concepts)
        except BaseException:
            index.close()
            shutil.rmtree(expanded(path), ignore_errors=True)
            raise
    return index


def _fill(index: Index, engine: Engine, progress: bool) -> None:
    entries = sorted(
        (one.place, one.document, one.id) for page in engine.store.scan(("place", "document")) for one in page
    )
    documents = [[name for _, _, name in some] for _, some in groupby(entries, key=lambda one: one[1])]
    with progress_bar(total=len(entries), desc="pull", unit="passage", shown=progress, leave=False) as bar:
        for some in batches(documents, _DOCUMENTS):
            names = [name for each in some for name in each]
            there = engine.store.get(names, vectors=True)
            if missing := set(names) - there.keys():
                raise SaelexError(
                    f"{engine.store.url}: changed while it was read ({min(missing)!r} is gone); pull again"
                )
            rows = SparseRows.concatenate(list(_rows(engine, (there[name] for name in names))))
            passages = [[Passage(there[name].start, there[name].end) for name in each] for each in some]
            index.add_vectors([_document(there[each[0]]) for each in some], rows, passages=passages)
            bar.update(len(names))
    if (len(index), len(entries)) != (len(engine), engine.contents.passages):
        raise SaelexError(
            f"{engine.store.url}: holds {len(entries):,} of {engine.contents.passages:,} passages; push the index again"
        )


def _document(first: Entry) -> Document:
    return Document(first.document, first.text, first.title, dict(first.metadata))


def _rows(engine: Engine, entries: Iterator[Entry]) -> Iterator[SparseRows]:
    """Latents alone: the index has the words from the texts."""
    for entry in entries:
        columns, weights = entry.vector
        row = SparseRows.build([0, len(columns)], columns, weights, engine.store.n_latents)
        yield replace(row.keep(row.latents < engine.n_latents), n_latents=engine.n_latents)
