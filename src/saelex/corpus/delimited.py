"""Rows of CSV and TSV files, as spreadsheets, pandas and Python's csv module write them.

Which row is a header, and whether quotes are quotes:

- `.csv`: the first row is the header. Cells are separated by comma, semicolon or tab: what the header has most of.
- `.tsv`: the first row is a header where columns are named, and where its first cell is an id's name (`_id`, `docid`,
  `query id`, ...) or all of its cells are names of columns. Without a header the columns go by their place.
- Quotes are those of CSV (a cell in quotes may hold separators, line ends and doubled quotes) in `.csv`, in `.tsv` with
  a header, and in `.tsv` whose first character is a quote. In any other `.tsv` they are text, as MS MARCO has them.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, TypeVar

from saelex.corpus.lines import max_record, too_large
from saelex.corpus.records import FIELD_OPTIONS, Fields
from saelex.errors import InputError

Parsed = TypeVar("Parsed")
Lines = Iterator[tuple[int, str]]

_SEPARATORS = ",;\t"
# what a header may hold that names no column of ours: such a first row is no document
_HEADER_NAMES = {"docno", "body", "content", "contents", "passage", "query", "question", "title", "text", "url"}
_ID_NAME = re.compile(r"_?id|(doc|document|corpus|passage|query|topic|[dpq])[ _-]?id")
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,15})?")


def parse_delimited(
    lines: Lines,
    name: str,
    from_record: Callable[[Mapping[str, Any], Fields], Parsed],
    from_cells: Callable[[list[str]], Parsed],
    fields: Fields,
    *,
    is_csv: bool,
) -> Iterator[tuple[str, Parsed]]:
    """What is made of each row, after file and line: of a mapping by the header's names, or of the cells where none is.

    lines: with their ends, as `raw_lines` gives them. Raises InputError, naming `name` and line, for rows of other
    widths than the first, for a header without the columns that are needed, and for quotes that are not CSV's.
    """
    first = next(((number, line) for number, line in lines if line.strip()), None)
    if first is None:
        return
    lines = chain([first], lines)
    separator = separator_of(first[1]) if is_csv else "\t"
    has_header = is_csv or _is_header(first, name, fields)
    quoted = has_header or first[1].startswith('"')
    rows = quoted_rows(lines, separator, name) if quoted else _plain_rows(lines)
    header: list[str] | None = None
    width = 0
    for number, cells in rows:
        where = f"{name}:{number}"
        width = width or len(cells)
        if len(cells) != width:
            hint = "" if quoted else "; cells in quotes need a header line with id and text, or the ending .csv"
            raise InputError(f"{where}: {len(cells)} columns where the first line has {width}{hint}")
        try:
            if not has_header:
                yield where, from_cells(cells)
            elif header is None:
                header = _header(cells, fields)
            else:
                yield where, from_record(_record(header, cells, fields), fields)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error


def separator_of(line: str) -> str:
    """What separates the cells of a CSV file: comma, semicolon or tab, by its first line outside of quotes."""
    bare = re.sub(r'"[^"]*"', "", line)
    return max(_SEPARATORS, key=bare.count)  # the comma where there is none of them


def quoted_rows(lines: Lines, separator: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """The line on which a row begins, and its cells, read by CSV's rules; blank lines are no rows."""
    most, start, last, held = max_record(), 0, 0, 0

    def fed() -> Iterator[str]:
        nonlocal start, last, held
        for last, line in lines:
            start = start or last
            held += len(line)
            if held > most:
                raise too_large(f"{name}:{start}", "a row (is a quote not closed?)")
            yield line

    # the limit is the module's own, 128 KiB a cell at first: rows are bounded above
    csv.field_size_limit(max(csv.field_size_limit(), most))
    reader = csv.reader(fed(), delimiter=separator, strict=True)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise InputError(f"{name}:{start or last}: not CSV, in the row that begins here: {error}") from error
        if cells is None:
            return
        if any(map(str.strip, cells)):
            yield start, cells
        start = held = 0


def needs_header(first: str) -> bool:
    """Whether a TSV that begins with this line, and has no header, would be read as if it had one, or quotes."""
    try:
        return first.startswith('"') or _is_header((1, first), "", Fields())
    except InputError:
        return True


def _plain_rows(lines: Lines) -> Iterator[tuple[int, list[str]]]:
    return ((number, line.rstrip("\r\n").split("\t")) for number, line in lines if line.strip())


def _is_header(first: tuple[int, str], name: str, fields: Fields) -> bool:
    """Whether a TSV's first line is a header. Raises InputError for one whose columns are not those that are needed."""
    number, line = first
    cells = [_own_name(cell.strip().strip('"')) for cell in line.rstrip("\r\n").split("\t")]
    named = {cell.casefold() for cell in cells if cell}
    only_names = bool(named) and all(cell in _HEADER_NAMES or _ID_NAME.fullmatch(cell) for cell in named)
    if fields != Fields() or only_names or _ID_NAME.fullmatch(cells[0].casefold()):
        try:
            _header(cells, fields)
        except InputError as error:
            raise InputError(f"{name}:{number}: {error}") from error
        return True
    return "text" in named and not named.isdisjoint(("_id", "id"))


def _header(cells: list[str], fields: Fields) -> list[str]:
    """The columns' names. Raises InputError where one comes twice, or a column that is needed is not there."""
    names = [_own_name(cell.strip()) for cell in cells]
    held = [name for name in names if name]
    if twice := next((name for name in held if held.count(name) > 1), None):
        raise InputError(f"two columns are called {twice!r}")
    needed = {"id": [fields.id] if fields.id else ["_id", "id"], "text": [fields.text or "text"]}
    if fields.title:
        needed["title"] = [fields.title]
    for role, names_of_role in needed.items():
        if not any(one in held for one in names_of_role):
            raise InputError(
                f"no column {' or '.join(names_of_role)} in the first row, which is taken for the header "
                f"({', '.join(held)[:200]}); name the {role}'s column with {FIELD_OPTIONS[role]}"
            )
    return names


def _own_name(cell: str) -> str:
    """Our own names in whatever case a spreadsheet has them; any other name as it is."""
    return cell.lower() if cell.lower() in ("_id", "id", "title", "text") else cell


def _record(header: list[str], cells: list[str], fields: Fields) -> dict[str, Any]:
    """The cells by their columns' names.

    Left out are columns without a name (pandas' index) and empty cells of metadata. Metadata that is written as JSON
    writes numbers (`2001`, `-0.5`; not `007`) are numbers, so that filters compare them.
    """
    record: dict[str, Any] = {}
    for name, cell in zip(header, cells):
        if name in fields.own:
            record[name] = cell
        elif name and cell:
            number = _NUMBER.fullmatch(cell)
            record[name] = cell if number is None else float(cell) if number[2] else int(cell)
    return record
