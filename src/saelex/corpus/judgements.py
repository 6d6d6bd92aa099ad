"""Lines of relevance judgements, in TREC's four columns or in a table's three, with or without a header."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from saelex.corpus.delimited import separator_of
from saelex.errors import InputError

# what headers call the three columns, in lower case, with - for _ and blanks
_QUERY = {"query-id", "qid", "queryid", "query", "topic", "topic-id"}
_DOCUMENT = {"corpus-id", "doc-id", "docid", "docno", "document-id", "document", "passage-id", "pid", "did", "doc"}
_GRADE = {"score", "relevance", "rel", "grade", "label", "judgement", "judgment", "relevancy"}
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')


def parse_judgements(
    lines: Iterator[tuple[int, str]], name: str, *, is_csv: bool
) -> Iterator[tuple[str, str, str, int]]:
    """File and line, query, document and grade of every line. The first line decides on the columns.

    A cell that is wholly in quotes loses them, as CSV writers put them; any other quote is text. Raises InputError with
    file and line.
    """
    layout: _Layout | None = None
    for number, line in lines:
        where = f"{name}:{number}"
        if layout is None:
            layout = _Layout.of(line, where, is_csv=is_csv)
            if layout.has_header:
                continue
        cells = layout.split(line)
        judgement = [cells[place].strip() for place in layout.places] if len(cells) == layout.width else []
        if not all(judgement) or not judgement or not judgement[2].removeprefix("-").isdecimal():
            raise InputError(f"{where}: not {layout.width} columns that end in an integer grade")
        try:
            yield where, judgement[0], judgement[1], int(judgement[2])
        except ValueError as error:  # an integer of thousands of digits
            raise InputError(f"{where}: {error}") from error


@dataclass(frozen=True)
class _Layout:
    """separator: None for blanks. places: of query, document and grade among `width` columns."""

    separator: str | None
    width: int
    places: tuple[int, int, int]
    has_header: bool = False

    @classmethod
    def of(cls, line: str, where: str, *, is_csv: bool) -> _Layout:
        """What the first line says."""
        separator = separator_of(line) if is_csv else "\t" if line.count("\t") >= 2 else None
        cells = _split(line, separator)
        if named := _named_places(cells):
            return cls(separator, len(cells), named, True)
        if len(cells) == 3:
            # BEIR's header, whatever its names: query-id corpus-id score
            return cls(separator, 3, (0, 1, 2), not any(map(str.isdigit, cells[2])))
        if len(_split(line, None)) == 4 and not is_csv:
            return cls(None, 4, (0, 2, 3))
        raise InputError(f"{where}: {len(cells)} columns; qrels have 3 (query, document, grade) or 4 (TREC)")

    def split(self, line: str) -> list[str]:
        """The line's cells. A table of three columns may have blanks on some lines in place of tabs."""
        separator = None if self.separator == "\t" and line.count("\t") != self.width - 1 else self.separator
        return _split(line, separator)


def _split(line: str, separator: str | None) -> list[str]:
    if separator is None:
        return line.split()
    if separator == "\t" or '"' not in line:
        return [_bare(cell) for cell in line.split(separator)]
    cells = re.findall(rf'(?:^|(?<={re.escape(separator)}))\s*("(?:[^"]|"")*"|[^{re.escape(separator)}]*)', line)
    return [_bare(cell) for cell in cells]


def _bare(cell: str) -> str:
    quoted = _QUOTED.fullmatch(cell.strip())
    return quoted[1].replace('""', '"') if quoted else cell


def _named_places(cells: list[str]) -> tuple[int, int, int] | None:
    """Where a header has query, document and grade; None where the cells are no header."""
    names = [re.sub(r"[_\s]+", "-", cell.strip().lower()) for cell in cells]
    places = [[place for place, name in enumerate(names) if name in known] for known in (_QUERY, _DOCUMENT, _GRADE)]
    if any(len(found) != 1 for found in places):
        return None
    return places[0][0], places[1][0], places[2][0]
