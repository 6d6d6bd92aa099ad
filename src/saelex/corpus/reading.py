"""Readers for the files that corpora, queries and relevance judgements come in.

All of them stream, read gzip by the name's `.gz`, and say `file:line` when something is wrong.
"""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from saelex.corpus.documents import Document, Qrels, Query
from saelex.errors import InputError

Parsed = TypeVar("Parsed")

_JSONL = {".jsonl", ".ndjson", ".json"}
_TSV = {".tsv"}
_OWN_FIELDS = {"_id", "id", "title", "text"}


def read_corpus(source: str | Path) -> Iterator[Document]:
    """The documents of a JSONL or TSV file (plain or gzipped), of a BEIR folder, or of JSONL on standard input (`-`).

    JSONL: one object a line with `_id` or `id`, `text` and perhaps `title`; the fields of an object under `metadata`,
    and every further field, become the document's metadata. TSV, without a header: `id<TAB>text` or
    `id<TAB>title<TAB>text`, the same on all lines. A BEIR folder holds `corpus.jsonl`. Empty lines are skipped.

    Streams, but remembers every id (some 100 bytes each) to refuse a second document of the same id.
    Raises InputError at once for a source that is missing or of unknown form, and with file and line for a bad line.
    """
    if str(source) == "-":
        return _documents(_jsonl(_lines(sys.stdin.buffer, "<stdin>"), _document), "<stdin>")
    path = _file_of(Path(source), "corpus")
    return _documents(_parse(path, _document, _document_of_cells), str(path))


def read_queries(source: str | Path) -> Iterator[Query]:
    """The queries of a JSONL file (`_id` or `id`, `text`), of a TSV file (`id<TAB>text`), or of a BEIR folder.

    Raises InputError as `read_corpus` does.
    """
    path = _file_of(Path(source), "queries")
    return _unique(_parse(path, _query, _query_of_cells), str(path), lambda query: query.id, "query")


def read_qrels(path: str | Path) -> Qrels:
    """Relevance judgements from a BEIR file (tab-separated query, document, grade; header optional) or a TREC file.

    TREC: four columns separated by blanks, `query iteration document grade`. The number of columns of the first line
    decides. Raises InputError with file and line, also where one pair is given two grades.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"{source}: no such qrels file")
    qrels: Qrels = {}
    columns = 0
    with _open(source) as file:
        for number, line in _lines(file, str(source)):
            cells = line.split("\t") if line.count("\t") == 2 else line.split()
            if not columns:
                columns = len(cells)
                if columns not in (3, 4):
                    raise InputError(
                        f"{source}:{number}: {columns} columns; qrels have 3 (query, document, grade) or 4 (TREC)"
                    )
                if columns == 3 and not _is_integer(cells[2]):
                    continue  # BEIR's header: query-id corpus-id score
            if len(cells) != columns or not _is_integer(cells[-1]):
                raise InputError(f"{source}:{number}: not {columns} columns that end in an integer grade")
            query, document, grade = cells[0].strip(), cells[-2].strip(), int(cells[-1])
            if qrels.setdefault(query, {}).setdefault(document, grade) != grade:
                raise InputError(f"{source}:{number}: query {query!r} and document {document!r} have two grades")
    if not qrels:
        raise InputError(f"{source}: holds no relevance judgements")
    return qrels


def document_of_line(line: str, where: str, *, is_json: bool) -> Document:
    """The document on one line of JSONL or TSV; `where`, such as file:line, begins the InputError for a bad one."""
    record = parse_json(line, where) if is_json else None
    try:
        return _document(_object(record)) if is_json else _document_of_cells(line.split("\t"))
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


# ---- files and lines ------------------------------------------------------------------------------------------------


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


def _suffix(path: Path) -> str:
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def _open(path: Path) -> IO[bytes]:
    try:
        if path.suffix.lower() == ".gz":
            return cast(IO[bytes], gzip.open(path, "rb"))
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def _lines(file: IO[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Number and text of every line that is not blank. Decodes line by line, so that an error has a line number."""
    number = 0
    try:
        for number, raw in enumerate(file, start=1):
            if raw.strip():
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}:{number}: not UTF-8 (byte {error.start}): {error.reason}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{name}: damaged gzip file after line {number}: {error}") from error


def _parse(
    path: Path,
    from_record: Callable[[Mapping[str, Any]], Parsed],
    from_cells: Callable[[list[str]], Parsed],
) -> Iterator[tuple[int, Parsed]]:
    suffix = _suffix(path)
    if suffix not in _JSONL | _TSV:
        raise InputError(f"{path}: unknown form; the name must end in .jsonl or .tsv, perhaps followed by .gz")

    def entries() -> Iterator[tuple[int, Parsed]]:
        with _open(path) as file:
            lines = _lines(file, str(path))
            yield from _jsonl(lines, from_record, str(path)) if suffix in _JSONL else _tsv(lines, from_cells, str(path))

    return entries()


def _jsonl(
    lines: Iterator[tuple[int, str]], parse: Callable[[Mapping[str, Any]], Parsed], name: str = "<stdin>"
) -> Iterator[tuple[int, Parsed]]:
    for number, line in lines:
        record = parse_json(line, f"{name}:{number}")
        try:
            parsed = parse(_object(record))
        except InputError as error:
            raise InputError(f"{name}:{number}: {error}") from error
        yield number, parsed


def _tsv(
    lines: Iterator[tuple[int, str]], parse: Callable[[list[str]], Parsed], name: str
) -> Iterator[tuple[int, Parsed]]:
    columns = 0
    for number, line in lines:
        cells = line.split("\t")
        columns = columns or len(cells)
        if len(cells) != columns:
            raise InputError(f"{name}:{number}: {len(cells)} columns where the first line has {columns}")
        try:
            yield number, parse(cells)
        except InputError as error:
            raise InputError(f"{name}:{number}: {error}") from error


# ---- documents and queries ------------------------------------------------------------------------------------------


def _document(record: Mapping[str, Any]) -> Document:
    text, title = _text(record), record.get("title") or ""
    if not isinstance(title, str):
        raise InputError(f"title must be a string, not {type(title).__name__}")
    metadata = {name: value for name, value in record.items() if name not in _OWN_FIELDS}
    if isinstance(metadata.get("metadata"), dict):
        metadata.update(metadata.pop("metadata"))
    return Document(_id(record), text, title, metadata)


def _document_of_cells(cells: list[str]) -> Document:
    if len(cells) not in (2, 3):
        raise InputError(f"{len(cells)} columns; a corpus has id<TAB>text or id<TAB>title<TAB>text")
    return Document(_id({"id": cells[0]}), cells[-1], cells[1] if len(cells) == 3 else "")


def _query(record: Mapping[str, Any]) -> Query:
    return Query(_id(record), _text(record))


def _query_of_cells(cells: list[str]) -> Query:
    if len(cells) != 2:
        raise InputError(f"{len(cells)} columns; queries have id<TAB>text")
    return Query(_id({"id": cells[0]}), cells[1])


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


def _documents(entries: Iterator[tuple[int, Document]], name: str) -> Iterator[Document]:
    return _unique(entries, name, lambda document: document.id, "document")


def _unique(
    entries: Iterator[tuple[int, Parsed]], name: str, key: Callable[[Parsed], str], noun: str
) -> Iterator[Parsed]:
    seen: set[str] = set()
    for number, entry in entries:
        if key(entry) in seen:
            raise InputError(f"{name}:{number}: a second {noun} with the id {key(entry)!r}; ids must be unique")
        seen.add(key(entry))
        yield entry


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
