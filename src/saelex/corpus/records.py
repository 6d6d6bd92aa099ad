"""Documents, queries and judgements from one record: an object of JSON, a table's row, or the cells of a line.

A record that cannot be one raises InputError without saying where; the caller, who knows, puts file and line before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from saelex.corpus.documents import Document, Qrels, Query
from saelex.errors import InputError

FIELD_OPTIONS = {role: f"{role}_field (--{role}-field)" for role in ("id", "text", "title")}
"""How a user names the field of each role, in Python and on the command line."""


@dataclass(frozen=True)
class Fields:
    """Which fields of a record hold id, text and title. None: `_id` or `id`, `text`, and `title`, which may be absent.

    A field that is named must be in every record.
    """

    id: str | None = None
    text: str | None = None
    title: str | None = None

    @property
    def own(self) -> set[str]:
        """The fields that are no metadata."""
        return {*([self.id] if self.id else ["_id", "id"]), self.text or "text", self.title or "title"}

    def value(self, record: Mapping[str, Any], role: str) -> Any:
        """The record's value of a role; None where it has none. Raises InputError for a named field that is missing."""
        named = getattr(self, role)
        if named is not None and named not in record:
            held = ", ".join(map(str, record))[:200]
            raise InputError(f"no field {named!r}, which {FIELD_OPTIONS[role]} names; this record has {held or 'none'}")
        if role == "id" and named is None:
            return record.get("_id", record.get("id"))
        return record.get(named or role)


_USUAL = Fields()


def as_document(value: Document | Mapping[str, Any]) -> Document:
    """A document as it is, or from a mapping as `document_of_record` reads it. Raises InputError for anything else."""
    if isinstance(value, Document):
        return value
    if isinstance(value, Mapping):
        return document_of_record(value)
    raise InputError(f"a document is a Document or a mapping such as {{'id': ..., 'text': ...}}, not {value!r:.60}")


def document_of_record(record: Mapping[str, Any], fields: Fields = _USUAL) -> Document:
    """From the fields of id, text and perhaps title; `metadata`'s fields and all others become metadata."""
    text, title = _text(record, fields), fields.value(record, "title") or ""
    if not isinstance(title, str):
        raise InputError(f"{fields.title or 'title'} must be a string, not {type(title).__name__}")
    metadata = {name: value for name, value in record.items() if name not in fields.own}
    if isinstance(metadata.get("metadata"), dict):
        metadata.update(metadata.pop("metadata"))
    return Document(_id(record, fields), text, title, metadata)


def document_of_cells(cells: list[str]) -> Document:
    """From id and text, or id, title and text."""
    if len(cells) not in (2, 3):
        raise InputError(f"{len(cells)} columns; a corpus has id<TAB>text or id<TAB>title<TAB>text")
    return Document(_id({"id": cells[0]}), cells[-1], cells[1] if len(cells) == 3 else "")


def query_of_record(record: Mapping[str, Any], fields: Fields = _USUAL) -> Query:
    """From the fields of id and text."""
    return Query(_id(record, fields), _text(record, fields))


def query_of_cells(cells: list[str]) -> Query:
    """From id and text."""
    if len(cells) != 2:
        raise InputError(f"{len(cells)} columns; queries have id<TAB>text")
    return Query(_id({"id": cells[0]}), cells[1])


def add_judgement(qrels: Qrels, query: str, document: str, grade: int) -> None:
    """Put one grade into the qrels. Raises InputError where the pair has another grade already."""
    if qrels.setdefault(query, {}).setdefault(document, grade) != grade:
        raise InputError(f"query {query!r} and document {document!r} have two grades")


def _id(record: Mapping[str, Any], fields: Fields = _USUAL) -> str:
    value = fields.value(record, "id")
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        named = f"a field {fields.id}" if fields.id else "a field _id or id"
        held = fields.id or "_id" in record or "id" in record
        hint = "" if held else f"; name another with {FIELD_OPTIONS['id']}"
        raise InputError(f"no id: every line needs {named} that holds a string or an integer{hint}")
    return str(value).strip()


def _text(record: Mapping[str, Any], fields: Fields) -> str:
    text = fields.value(record, "text")
    if not isinstance(text, str):
        hint = "" if fields.text or "text" in record else f"; name another with {FIELD_OPTIONS['text']}"
        raise InputError(f"no text: every line needs a field {fields.text or 'text'} that holds a string{hint}")
    return text
