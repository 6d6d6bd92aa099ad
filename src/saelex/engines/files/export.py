"""An index, or queries against it, as a file for another engine."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from saelex.corpus.documents import Document, Query
from saelex.engines.files.format import Format, Summary, Vector, Written, write_documents, write_queries
from saelex.errors import InputError
from saelex.files import write_text
from saelex.vectors import SparseRows

if TYPE_CHECKING:
    from saelex.index.index import Index


class Exported(NamedTuple):
    """What an export wrote, and where."""

    documents: Written
    queries: Written
    documents_path: Path
    queries_path: Path | None
    settings_path: Path


def export_index(
    index: Index, form: Format, path: Path, queries: Sequence[Query] = (), *, with_text: bool = True
) -> Exported:
    """Write the index's vectors as stored, so that the engine's scores are ours within the format's limits.

    Beside `path` come `<path>.settings.json`, with which the engine is created, and for queries `<path>.queries`. A
    document of several passages becomes one entry a passage, `id#1`, `id#2`, ..., with the document's id in its
    metadata. with_text: False leaves titles, texts and metadata out.

    Raises InputError, before anything is written, when the vectors are beyond the engine's caps; and for a document
    that it would refuse, with no file written. The index needs forward rows.
    """
    asked = index.query_vectors([query.text for query in queries]) if queries else None
    summary = _summary(index, asked)
    settings = form.settings(summary)
    documents = write_documents(path, form, _documents(index, with_text), summary)
    queries_path, written = None, Written(0, 0)
    if asked is not None:
        queries_path = path.with_name(f"{path.name}.queries")
        vectors = (Vector(*asked.row(i)) for i in range(len(asked)))
        written = write_queries(queries_path, form, zip(queries, vectors), summary)
    settings_path = path.with_name(f"{path.name}.settings.json")
    write_text(settings_path, [json.dumps({"format": form.name, "limits": form.limits, **settings}, indent=2) + "\n"])
    return Exported(documents, written, path, queries_path, settings_path)


def _summary(index: Index, queries: SparseRows | None) -> Summary:
    heaviest, n_columns = 0.0, index.n_latents
    for chunk in index.stored():
        heaviest = max(heaviest, float(chunk.rows.weights.max(initial=0.0)))
        n_columns = chunk.rows.n_latents
    if not heaviest:
        raise InputError(f"{index.path}: holds no vectors to export")
    heaviest_query = 0.0 if queries is None else float(queries.weights.max(initial=0.0))
    return Summary(n_columns, heaviest, heaviest_query)


def _documents(index: Index, with_text: bool) -> Iterator[tuple[Document, Vector]]:
    for document, vector in _passages(index):
        yield (document if with_text else replace(document, title="", text="", metadata={})), vector


def _passages(index: Index) -> Iterator[tuple[Document, Vector]]:
    """Every stored passage as a document of its own; one that is a whole document keeps its id."""
    document, number = Document("", ""), 0
    for name, text, vector in _entries(index):
        if name != document.id:
            document, number = index.document(name), 0
        if text == document.content:
            yield document, vector
            continue
        number += 1
        part = f"{name}#{number}"
        if part in index:
            raise InputError(f"passage {number} of document {name!r} cannot be named {part!r}: a document has that id")
        metadata = {**document.metadata, "document": name, "passage": number}
        yield Document(part, text, document.title, metadata), vector


def _entries(index: Index) -> Iterable[tuple[str, str, Vector]]:
    for chunk in index.stored():
        for i, (name, text) in enumerate(zip(chunk.ids, chunk.texts)):
            yield name, text, Vector(*chunk.rows.row(i))
