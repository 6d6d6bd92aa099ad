"""Readers for the files that corpora, queries and relevance judgements come in.

All of them stream, read gzip by the name's `.gz`, and say `file:line` when something is wrong.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from saelex.corpus.documents import Document, Qrels, Query
from saelex.corpus.lines import numbered, read_lines, suffix_of, unique
from saelex.corpus.records import (
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
_TSV = {".tsv"}


def read_corpus(source: str | Path) -> Iterator[Document]:
    """The documents of a JSONL or TSV file (plain or gzipped), of a BEIR folder, or of JSONL on standard input (`-`).

    JSONL: one object a line with `_id` or `id`, `text` and perhaps `title`; the fields of an object under `metadata`,
    and every further field, become the document's metadata. TSV, without a header: `id<TAB>text` or
    `id<TAB>title<TAB>text`, the same on all lines. A BEIR folder holds `corpus.jsonl`. Empty lines are skipped.

    Streams, but remembers every id (some 100 bytes each) to refuse a second document of the same id.
    Raises InputError at once for a source that is missing or of unknown form, and with file and line for a bad line.
    """
    if str(source) == "-":
        entries = parse_jsonl(numbered(sys.stdin.buffer, "<stdin>"), document_of_record, "<stdin>")
    else:
        entries = _parse(_file_of(expanded(source), "corpus"), document_of_record, document_of_cells)
    return unique(entries, lambda document: document.id, "document")


def read_queries(source: str | Path) -> Iterator[Query]:
    """The queries of a JSONL file (`_id` or `id`, `text`), of a TSV file (`id<TAB>text`), or of a BEIR folder.

    Raises InputError as `read_corpus` does.
    """
    entries = _parse(_file_of(expanded(source), "queries"), query_of_record, query_of_cells)
    return unique(entries, lambda query: query.id, "query")


def read_qrels(path: str | Path) -> Qrels:
    """Relevance judgements from a BEIR file (tab-separated query, document, grade; header optional) or a TREC file.

    TREC: four columns separated by blanks, `query iteration document grade`. The number of columns of the first line
    decides. Negative grades (TREC's spam, or "not judged") are kept. Raises InputError with file and line, also where
    one pair is given two grades.
    """
    source = expanded(path)
    if not source.is_file():
        raise InputError(f"{source}: no such qrels file")
    qrels: Qrels = {}
    columns = 0
    for number, line in read_lines(source):
        cells = line.split("\t") if line.count("\t") == 2 else line.split()
        if not columns:
            columns = len(cells)
            if columns not in (3, 4):
                raise InputError(
                    f"{source}:{number}: {columns} columns; qrels have 3 (query, document, grade) or 4 (TREC)"
                )
            if columns == 3 and not any(map(str.isdigit, cells[2])):
                continue  # BEIR's header: query-id corpus-id score
        if len(cells) != columns or not all(map(str.strip, cells)) or not _is_integer(cells[-1]):
            raise InputError(f"{source}:{number}: not {columns} columns that end in an integer grade")
        try:
            add_judgement(qrels, cells[0].strip(), cells[-2].strip(), int(cells[-1]))
        except (InputError, ValueError) as error:  # ValueError: an integer of thousands of digits
            raise InputError(f"{source}:{number}: {error}") from error
    if not qrels:
        raise InputError(f"{source}: holds no relevance judgements")
    return qrels


def document_of_line(line: str, where: str, *, is_json: bool) -> Document:
    """The document on one line of JSONL or TSV; `where`, such as file:line, begins the InputError for a bad one."""
    record = parse_json(line, where) if is_json else None
    try:
        return document_of_record(_object(record)) if is_json else document_of_cells(line.split("\t"))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def parse_json(line: str, where: str) -> Any:
    """The JSON value on a line; `where`, such as file:line, begins the InputError if there is none or it is no text."""
    try:
        value = json.loads(line)
        if "\\u" in line:
            _refuse_surrogates(value)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not valid JSON: {error.msg} (column {error.colno})") from error
    except (InputError, RecursionError, ValueError) as error:  # ValueError: an integer of thousands of digits
        raise InputError(f"{where}: {error}") from error
    return value


def parse_tsv(
    lines: Iterator[tuple[int, str]], parse: Callable[[list[str]], Parsed], name: str
) -> Iterator[tuple[str, Parsed]]:
    """What `parse` makes of each numbered line's cells, after file and line; all lines have the same columns."""
    columns = 0
    for number, line in lines:
        cells = line.split("\t")
        columns = columns or len(cells)
        if len(cells) != columns:
            raise InputError(f"{name}:{number}: {len(cells)} columns where the first line has {columns}")
        try:
            yield f"{name}:{number}", parse(cells)
        except InputError as error:
            raise InputError(f"{name}:{number}: {error}") from error


def _file_of(source: Path, name: str) -> Path:
    """The file to read: the source itself, or `name.jsonl` (perhaps `.gz`) inside a BEIR folder."""
    if source.is_dir():
        for candidate in (source / f"{name}.jsonl", source / f"{name}.jsonl.gz"):
            if candidate.is_file():
                return candidate
        raise InputError(f"{source}: not a BEIR folder, it holds neither {name}.jsonl nor {name}.jsonl.gz")
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    return source


def _parse(
    path: Path,
    from_record: Callable[[Mapping[str, Any]], Parsed],
    from_cells: Callable[[list[str]], Parsed],
) -> Iterator[tuple[str, Parsed]]:
    suffix = suffix_of(path)
    if suffix not in _JSONL | _TSV:
        raise InputError(f"{path}: unknown form; the name must end in .jsonl or .tsv, perhaps followed by .gz")
    lines = read_lines(path)
    return parse_jsonl(lines, from_record, str(path)) if suffix in _JSONL else parse_tsv(lines, from_cells, str(path))


def parse_jsonl(
    lines: Iterator[tuple[int, str]], parse: Callable[[Mapping[str, Any]], Parsed], name: str
) -> Iterator[tuple[str, Parsed]]:
    """What `parse` makes of each numbered line's JSON object, after file and line."""
    for number, line in lines:
        where = f"{name}:{number}"
        record = parse_json(line, where)
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
