"""JSON lines as training data: only where each query's line begins is held in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from saelex.corpus.reading import parse_json
from saelex.errors import InputError
from saelex.training.examples.example import TrainingQuery
from saelex.training.examples.facts import fingerprint
from saelex.training.examples.filtering import PassageFilter
from saelex.training.examples.lines import LineFile
from saelex.training.examples.records import training_query

if TYPE_CHECKING:
    from saelex.training.examples.settings import Source

Parse = Callable[[Mapping[str, Any]], TrainingQuery]


class QueryLines:
    """The usable queries of a file with one JSON object a line, plain or gzipped.

    All lines are read once and checked; where the usable ones begin is remembered in the user's cache folder.
    layout: names what `parse` expects, for that memory. max_queries: stop after so many usable queries.
    Raises InputError with file and line.
    """

    def __init__(
        self,
        path: str | Path,
        parse: Parse,
        kept: PassageFilter,
        *,
        layout: Mapping[str, Any],
        max_queries: int | None = None,
        progress: bool = False,
    ) -> None:
        self._file, self._parse, self._filter = LineFile(path), parse, kept
        purpose = {**layout, **kept.facts(), "max_queries": max_queries}
        found = self._file.remembered(purpose, lambda: self._find(max_queries, progress))
        self.read = int(found[0])
        self._offsets = found[1:]

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    @property
    def size(self) -> int:
        """Queries that can be used."""
        return len(self._offsets)

    def __getitem__(self, index: int) -> TrainingQuery:
        offset = int(self._offsets[index])
        query = self._usable(self._file.at(offset), self._file.path.name)
        if query is None:
            raise InputError(f"{self._file.where(offset)}: the file has changed while it was read; start again")
        return query

    def _find(self, max_queries: int | None, progress: bool) -> NDArray[np.int64]:
        """The number of lines read, then where each usable one begins."""
        read, offsets = 0, list[int]()
        for line in self._file.lines(progress=progress):
            if max_queries is not None and len(offsets) == max_queries:
                break
            read += 1
            if self._usable(line.text, f"{self.path}:{line.number}") is not None:
                offsets.append(line.offset)
        return np.array([read, *offsets], dtype=np.int64)

    def _usable(self, line: str, where: str) -> TrainingQuery | None:
        record = parse_json(line, where)
        if not isinstance(record, dict):
            raise InputError(f"{where}: a JSON object is expected, not {type(record).__name__}")
        try:
            return self._filter.usable(self._parse(record))
        except InputError as error:
            raise InputError(f"{where}: {error}") from error


class JsonlSource:
    """One file of JSON lines; see `open_jsonl`."""

    def __init__(self, lines: QueryLines) -> None:
        self._lines = lines

    @property
    def size(self) -> int:
        """Queries that can be used."""
        return self._lines.size

    def __getitem__(self, index: int) -> TrainingQuery:
        return self._lines[index]

    def facts(self) -> dict[str, Any]:
        """The file's fingerprint, and how many of its queries are left out."""
        return {"queries_left_out": self._lines.read - self.size, **fingerprint([self._lines.path])}


def open_jsonl(source: Source, passages: PassageFilter, *, progress: bool = False) -> JsonlSource:
    """A file with one object a line: query, positive (a text or a list), negatives (a list) and perhaps scores.

    See `saelex.training.examples.records.training_query` for the fields. Raises InputError with file and line.
    """
    return JsonlSource(
        QueryLines(
            source.path,
            lambda record: training_query(record, source.columns),
            passages,
            layout={"layout": "jsonl", "columns": dict(source.columns)},
            max_queries=source.max_queries,
            progress=progress,
        )
    )
