"""Documents, queries and judgements from one record: an object of JSON, a table's row, or the cells of a line.

A record that cannot be one raises InputError without saying where; the caller, who knows, puts file and line before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saelex.corpus.documents import Document, Qrels, Query
from saelex.errors import InputError

_OWN_FIELDS = {"_id", "id", "title", "text"}


def as_document(value: Document | Mapping[str, Any]) -> Document:
    """A document as it is, or from a mapping as `document_of_record` reads it. Raises InputError for anything else."""
    if isinstance(value, Document):
        return value
    if isinstance(value, Mapping):
        return document_of_record(value)
    raise InputError(f"a document is a Document or a mapping such as {{'id': ..., 'text': ...}}, not {value!r:.60}")


def document_of_record(record: Mapping[str, Any]) -> Document:
    """From `_id` or `id`, `text` and perhaps `title`; `metadata`'s fields and all others become metadata."""
    text, title = _text(record), record.get("title") or ""
    if not isinstance(title, str):
        raise InputError(f"title must be a string, not {type(title).__name__}")
    metadata = {name: value for name, value in record.items() if name not in _OWN_FIELDS}
    if isinstance(metadata.get("metadata"), dict):
        metadata.update(metadata.pop("metadata"))
    return Document(_id(record), text, title, metadata)


def document_of_cells(cells: list[str]) -> Document:
    """From id and text, or id, title and text."""
    if len(cells) not in (2, 3):
        raise InputError(f"{len(cells)} columns; a corpus has id<TAB>text or id<TAB>title<TAB>text")
    return Document(_id({"id": cells[0]}), cells[-1], cells[1] if len(cells) == 3 else "")


def query_of_record(record: Mapping[str, Any]) -> Query:
    """From `_id` or `id`, and `text`."""
    return Query(_id(record), _text(record))


def query_of_cells(cells: list[str]) -> Query:
    """From id and text."""
    if len(cells) != 2:
        raise InputError(f"{len(cells)} columns; queries have id<TAB>text")
    return Query(_id({"id": cells[0]}), cells[1])


def add_judgement(qrels: Qrels, query: str, document: str, grade: int) -> None:
    """Put one grade into the qrels. Raises InputError where the pair has another grade already."""
    if qrels.setdefault(query, {}).setdefault(document, grade) != grade:
        raise InputError(f"query {query!r} and document {document!r} have two grades")


def _id(record: Mapping[str, Any]) -> str:
    value = record.get("_id", record.get("id"))
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise InputError("no id: every line needs a field _id or id that holds a string or an integer")
    return str(value).strip()


def _text(record: Mapping[str, Any]) -> str:
    text = record.get("text")
    if not isinstance(text, str):
        raise InputError("no text: every line needs a field text that holds a string")
    return text
