"""Readers for the files that corpora, queries and relevance judgements come in.

All of them stream, read gzip by the name's `.gz`, and say `file:line` when something is wrong.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from saelex.corpus.delimited import parse_delimited
from saelex.corpus.document_files import DOCUMENT_SUFFIXES, documents_of_files
from saelex.corpus.documents import Document, Qrels, Query
from saelex.corpus.judgements import parse_judgements
from saelex.corpus.lines import numbered, open_bytes, raw_lines, read_lines, suffix_of, unique
from saelex.corpus.records import (
    Fields,
    add_judgement,
    document_of_cells,
    document_of_record,
    query_of_cells,
    query_of_record,
)
from saelex.errors import InputError
from saelex.files import expanded

Parsed = TypeVar("Parsed")

_JSONL = {".jsonl", ".ndjson", ".json"}
_DELIMITED = {".csv", ".tsv"}
LINE_SUFFIXES = _JSONL | _DELIMITED
"""Of files with one document or query a line, or record; `.gz` may follow."""


def read_corpus(
    source: str | Path,
    *,
    id_field: str | None = None,
    text_field: str | None = None,
    title_field: str | None = None,
) -> Iterator[Document]:
    """The documents of a file or a folder, or of JSONL on standard input (`-`). Files may be gzipped (`.gz`).

    - JSONL (`.jsonl`, `.ndjson`, `.json`): one object a line with `_id` or `id`, `text` and perhaps `title`; the fields
      of an object under `metadata`, and every further field, become the document's metadata. Empty lines are skipped.
    - CSV (`.csv`): a header with such names, and quotes as a CSV writer sets them; further columns become metadata.
    - TSV (`.tsv`): the same, or without a header `id<TAB>text` or `id<TAB>title<TAB>text`, the same on all lines.
      `saelex.corpus.delimited` says how a header is told.
    - Markdown, plain text, HTML, PDF, DOCX: one file, one document; `saelex.corpus.document_files` says how. The last
      three need the extra files.
    - A folder: BEIR's if it holds `corpus.jsonl`; otherwise all such documents in it and below, their paths the ids.

    id_field, text_field, title_field: the fields of JSONL, the columns of CSV and TSV, where they have other names.

    Streams, but remembers every id (some 100 bytes each) to refuse a second document of the same id.
    Raises InputError at once for a source that is missing or of unknown form, and with file and line for a bad line,
    and one that is too long (`saelex.corpus.lines`).
    """
    fields = Fields(id_field, text_field, title_field)
    path = expanded(source)
    if str(source) == "-":
        lines = numbered(sys.stdin.buffer, "<stdin>")
        entries = parse_jsonl(lines, partial(document_of_record, fields=fields), "<stdin>")
    elif (file := _beir_file(path, "corpus")) is None:
        entries = _document_entries(path, fields)
    else:
        entries = _parse(file, document_of_record, document_of_cells, fields)
    return unique(entries, lambda document: document.id, "document")


def read_queries(source: str | Path, *, id_field: str | None = None, text_field: str | None = None) -> Iterator[Query]:
    """The queries of a JSONL, CSV or TSV file, as `read_corpus` reads documents, or of a BEIR folder.

    TSV without a header is `id<TAB>text`. Raises InputError as `read_corpus` does.
    """
    file = _beir_file(expanded(source), "queries")
    if file is None:
        raise InputError(f"{source}: not a BEIR folder with queries.jsonl (perhaps .gz), nor a JSONL, CSV or TSV file")
    entries = _parse(file, query_of_record, query_of_cells, Fields(id_field, text_field))
    return unique(entries, lambda query: query.id, "query")


def read_qrels(path: str | Path) -> Qrels:
    """Relevance judgements: TREC's four columns separated by blanks, `query iteration document grade`, or a table.

    A table has three columns, query, document and grade, separated by tabs, or in `.csv` as `delimited.separator_of`
    finds; or a header that names them (`query-id`, `corpus-id`, `score`, or the like) among others. Cells may be in
    quotes. Negative grades (TREC's spam, or "not judged") are kept. Raises InputError with file and line, also where
    one pair is given two grades.
    """
    source = expanded(path)
    if not source.is_file():
        raise InputError(f"{source}: no such qrels file")
    qrels: Qrels = {}
    for where, query, document, grade in parse_judgements(
        read_lines(source), str(source), is_csv=suffix_of(source) == ".csv"
    ):
        try:
            add_judgement(qrels, query, document, grade)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
    if not qrels:
        raise InputError(f"{source}: holds no relevance judgements")
    return qrels


def document_of_line(line: str, where: str, *, is_json: bool) -> Document:
    """The document on one line of JSONL or TSV; `where`, such as file:line, begins the InputError for a bad one."""
    record = parse_json(line, where, _FINITE) if is_json else None
    try:
        return document_of_record(_object(record)) if is_json else document_of_cells(line.split("\t"))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def parse_json(line: str, where: str, decoder: json.JSONDecoder | None = None) -> Any:
    """The JSON value on a line; `where`, such as file:line, begins the InputError if there is none or it is no text."""
    try:
        value = (decoder or json.JSONDecoder()).decode(line)
        if "\\u" in line:
            _refuse_surrogates(value)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not valid JSON: {error.msg} (column {error.colno})") from error
    except (InputError, RecursionError, ValueError) as error:  # ValueError: an integer of thousands of digits
        raise InputError(f"{where}: {error}") from error
    return value


def _finite(number: str) -> float:
    """JSON has no NaN and no Infinity, which Python writes all the same; and numbers beyond a float's range are one."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number:.40} is no finite number; leave it out, or write null or a string")
    return value


_FINITE = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)


def parse_queries(path: Path) -> Iterator[tuple[str, Query]]:
    """The queries of a JSONL, CSV or TSV file, each after file and line."""
    return _parse(path, query_of_record, query_of_cells, Fields())


def _beir_file(source: Path, name: str) -> Path | None:
    """`name.jsonl` (perhaps `.gz`) of a BEIR folder, or a file of lines itself; None for what is neither."""
    if source.is_dir():
        return next((path for path in (source / f"{name}.jsonl", source / f"{name}.jsonl.gz") if path.is_file()), None)
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    if suffix_of(source) not in LINE_SUFFIXES | DOCUMENT_SUFFIXES:
        raise InputError(
            f"{source}: unknown form; the name must end in {', '.join(sorted(LINE_SUFFIXES))}, perhaps followed by "
            f".gz, or in {', '.join(sorted(DOCUMENT_SUFFIXES))}"
        )
    return source if suffix_of(source) in LINE_SUFFIXES else None


def _document_entries(source: Path, fields: Fields) -> Iterator[tuple[str, Document]]:
    if fields != Fields():
        raise InputError(f"{source}: fields can be named for JSONL, CSV and TSV; these are documents, one a file")
    return documents_of_files(source)


def _parse(
    path: Path,
    from_record: Callable[[Mapping[str, Any], Fields], Parsed],
    from_cells: Callable[[list[str]], Parsed],
    fields: Fields,
) -> Iterator[tuple[str, Parsed]]:
    name, suffix = str(path), suffix_of(path)
    with open_bytes(path) as file:
        if suffix in _JSONL:
            yield from parse_jsonl(numbered(file, name), lambda record: from_record(record, fields), name)
        else:
            lines = raw_lines(file, name)
            yield from parse_delimited(lines, name, from_record, from_cells, fields, is_csv=suffix == ".csv")


def parse_jsonl(
    lines: Iterator[tuple[int, str]], parse: Callable[[Mapping[str, Any]], Parsed], name: str
) -> Iterator[tuple[str, Parsed]]:
    """What `parse` makes of each numbered line's JSON object, after file and line."""
    for number, line in lines:
        where = f"{name}:{number}"
        record = parse_json(line, where, _FINITE)
        try:
            parsed = parse(_object(record))
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        yield where, parsed


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"a JSON object is expected, not {type(value).__name__}")
    return value


def _refuse_surrogates(record: Any) -> None:
    """JSON can escape half a surrogate pair, which is no text: neither UTF-8 nor a tokenizer takes it."""
    try:
        json.dumps(record, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"half a surrogate pair (\\u{ord(error.object[error.start]):04x}) is no character") from error


def _is_integer(cell: str) -> bool:
    return cell.strip().removeprefix("-").isdecimal()
