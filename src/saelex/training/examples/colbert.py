"""ColBERT's training data: lines of ids, whose texts are in a collection and a file of queries."""

from __future__ import annotations

import json
import math
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.corpus.reading import parse_json
from saelex.errors import InputError
from saelex.files import expanded, state_of
from saelex.training.examples.example import Passage, TrainingQuery
from saelex.training.examples.facts import fingerprint
from saelex.training.examples.filtering import PassageFilter
from saelex.training.examples.lines import LineFile
from saelex.training.examples.texts_by_id import TextsById

if TYPE_CHECKING:
    from saelex.training.examples.settings import Source

_COLLECTIONS = ("collection.tsv", "collection.tsv.gz", "corpus.jsonl", "corpus.jsonl.gz")
_QUERIES = ("queries.train.tsv", "queries.tsv", "queries.tsv.gz", "queries.jsonl", "queries.jsonl.gz")


class _Ids(NamedTuple):
    """A line: the query's id, and the passages' with their scores; the first passage is the positive."""

    query: str | int
    passages: list[str | int]
    scores: list[float | None]


class ColbertSource:
    """A line of ids at a time; see `open_colbert`."""

    def __init__(
        self,
        examples: LineFile,
        texts: TextsById,
        queries: TextsById,
        passages: PassageFilter,
        *,
        max_queries: int | None = None,
        progress: bool = False,
    ) -> None:
        self._examples, self._texts, self._queries, self._filter = examples, texts, queries, passages
        self._banned = texts.banned(passages, progress=progress)
        related = [[str(file.path.resolve()), *state_of(file.path)] for file in (texts, queries)]
        purpose = {"layout": "colbert", **passages.facts(), "related": related, "max_queries": max_queries}
        found = examples.remembered(purpose, lambda: self._find(max_queries, progress))
        self._read, self._offsets = int(found[0]), found[1:]

    @property
    def size(self) -> int:
        """Lines that can be used."""
        return len(self._offsets)

    def __getitem__(self, index: int) -> TrainingQuery:
        ids = _ids(self._examples.at(int(self._offsets[index])), self._examples.path.name)
        places = self._texts.places(ids.passages)
        allowed = ~self._are_banned(places)
        texts = [
            Passage(self._texts.at(int(place)), score) if ok else None
            for place, score, ok in zip(places, ids.scores, allowed, strict=True)
        ]
        query = self._queries.at(int(self._queries.places([ids.query])[0]))
        return TrainingQuery(query, tuple(filter(None, texts[:1])), tuple(filter(None, texts[1:])))

    def facts(self) -> dict[str, Any]:
        """Fingerprint of the three files, and how many lines are left out."""
        files = [self._examples.path, self._texts.path, self._queries.path]
        return {"queries_left_out": self._read - self.size, **fingerprint(files)}

    def _find(self, max_queries: int | None, progress: bool) -> NDArray[np.int64]:
        """The number of lines read, then where each usable one begins."""
        read, offsets = 0, array("q")
        for line in self._examples.lines(progress=progress):
            if max_queries is not None and len(offsets) == max_queries:
                break
            read += 1
            where = f"{self._examples.path}:{line.number}"
            ids = _ids(line.text, where)
            try:
                if self._is_usable(ids):
                    offsets.append(line.offset)
            except InputError as error:
                raise InputError(f"{where}: {error}") from error
        return np.array([read, *offsets], dtype=np.int64)

    def _is_usable(self, ids: _Ids) -> bool:
        usable = ~self._are_banned(self._texts.places(ids.passages))  # [passages]
        if self._filter.needs_scores:
            usable &= np.array([score is not None for score in ids.scores])
        asked = int(self._queries.places([ids.query])[0]) >= 0  # not blank
        return asked and bool(usable[0]) and (not self._filter.needs_scores or bool(usable[1:].any()))

    def _are_banned(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        rows = np.minimum(np.searchsorted(self._banned, places), len(self._banned) - 1)
        return np.asarray(self._banned[rows] == places)


def open_colbert(source: Source, passages: PassageFilter, *, progress: bool = False) -> ColbertSource:
    """Lines `[query, [passage, score], ...]` (ColBERTv2's examples.json) or `[query, passage, ...]` (triples); the
    first passage is the positive. Triples may be TSV too.

    `source.corpus` and `source.queries` hold the texts, TSV or JSONL; null looks for collection.tsv and
    queries.train.tsv (queries.tsv) beside the file. Everything is read once and checked; what was found is remembered
    in the user's cache folder. Raises InputError with file and line.
    """
    if source.columns:
        raise InputError(f"{source.path}: ColBERT's lines have no named columns; leave columns out")
    examples = LineFile(source.path)
    texts = TextsById(_beside(examples.path, source.corpus, _COLLECTIONS, "corpus"), progress=progress)
    queries = TextsById(_beside(examples.path, source.queries, _QUERIES, "queries"), progress=progress)
    return ColbertSource(examples, texts, queries, passages, max_queries=source.max_queries, progress=progress)


def _ids(line: str, where: str) -> _Ids:
    """The ids on a line; of a passage that comes twice, the first."""
    values: list[Any] = parse_json(line, where) if line.lstrip().startswith("[") else line.split("\t")
    if len(values) < 2:
        raise InputError(f"{where}: a line needs a query and a passage, [query, passage, ...]")
    query, *passages = values
    scores: dict[str | int, float | None] = {}
    for passage in passages:
        name, score = passage if isinstance(passage, list) and len(passage) == 2 else (passage, None)
        if not _is_id(name):
            raise InputError(f"{where}: a passage is an id, or a pair of id and score, not {json.dumps(passage)}")
        if not (score is None or (isinstance(score, (int, float)) and math.isfinite(score))):
            raise InputError(f"{where}: the score of the passage {name!r} is no finite number")
        scores.setdefault(name, score)
    if not _is_id(query):
        raise InputError(f"{where}: the query must be an id, not {json.dumps(query)}")
    return _Ids(query, list(scores), list(scores.values()))


def _is_id(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _beside(examples: Path, given: str | None, usual: tuple[str, ...], what: str) -> Path:
    """The file that the recipe names, or the first of the usual names beside the examples or in a named folder."""
    folder = examples.parent if given is None else expanded(given)
    if given is not None and not folder.is_dir():
        return folder
    found = [folder / name for name in usual if (folder / name).is_file()]
    if not found:
        raise InputError(f"{folder}: none of {', '.join(usual)} is here; name the file by the source's {what}")
    return found[0]
