"""Collections of the package ir_datasets, which fetches and keeps them: its ids, such as beir/scifact/test.

The interface is ir_datasets 0.5 and 0.6's: `load(id)`, then `has_docs`, `docs_iter`, `queries_iter`, `qrels_iter`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from saelex.corpus.collection import Collection
from saelex.corpus.documents import Document, Qrels, Query
from saelex.corpus.lines import unique
from saelex.corpus.records import add_judgement
from saelex.errors import InputError
from saelex.installation import needs_extra

IR_DATASETS = "ir_datasets:"


def read_ir_dataset(name: str) -> Collection:
    """The data set of this id, whose name it is; the split is part of the id.

    Texts are ir_datasets' own choice (`default_text`): title and body of a document, the title of a TREC topic.
    Raises InputError where the package is missing, the id is unknown or lacks documents, queries or qrels, and where
    the files cannot be had.
    """
    source = IR_DATASETS + name
    dataset = _load(name)
    lacking = [part for part in ("docs", "queries", "qrels") if not getattr(dataset, f"has_{part}")()]
    if lacking:
        below = [one for one in _known() if one.startswith(f"{name}/")]
        hint = f"; ids below it: {', '.join(below[:8])}" if below else ""
        raise InputError(f"{source}: has no {' and no '.join(lacking)}{hint}")
    qrels: Qrels = {}
    with _one_clear_error(source):
        for row in dataset.qrels_iter():
            add_judgement(qrels, str(row.query_id), str(row.doc_id), int(row.relevance))
        judged = (row for row in dataset.queries_iter() if str(row.query_id) in qrels)
        asked = (("queries", Query(str(row.query_id), _text(row))) for row in judged)
        queries = list(unique(asked, lambda one: one.id, "query"))

    def documents() -> Iterator[Document]:
        with _one_clear_error(source):
            found = (("documents", _document(row)) for row in dataset.docs_iter())
            yield from unique(found, lambda one: one.id, "document")

    return Collection.of_judged(source, name, "", queries, qrels, documents)


def _load(name: str) -> Any:
    try:
        import ir_datasets
    except ImportError as error:
        raise needs_extra(IR_DATASETS + name, "ir-datasets", "ir-datasets") from error
    try:
        with _one_clear_error(IR_DATASETS + name):
            return ir_datasets.load(name)
    except KeyError as error:
        close = get_close_matches(name.replace(":", "/"), _known(), 3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise InputError(f"{IR_DATASETS}{name}: ir_datasets has no such id{hint}") from error


def _known() -> list[str]:
    import ir_datasets

    return sorted(ir_datasets.registry)


def _document(row: Any) -> Document:
    """With a title of its own where the text is title, blank, body: then `content` is the text again."""
    text, title = _text(row), getattr(row, "title", None)
    if isinstance(title, str) and title and text.startswith(f"{title} "):
        return Document(str(row.doc_id), text[len(title) + 1 :], title)
    return Document(str(row.doc_id), text)


def _text(row: Any) -> str:
    text = row.default_text() if hasattr(row, "default_text") else getattr(row, "text", None)
    if not isinstance(text, str):
        raise InputError(f"{type(row).__name__} records have no text to search")
    return text


@contextmanager
def _one_clear_error(source: str) -> Iterator[None]:
    """ir_datasets explains at length what to fetch by hand, or what failed: its first line says it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    except (OSError, RuntimeError, ValueError) as error:  # failures of the network are OSErrors
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{source}: cannot be had from ir_datasets: {reason}") from error
