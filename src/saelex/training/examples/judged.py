"""Pairs of query and passage with judgement and score, as arrays: millions of them fit in memory."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.errors import InputError
from saelex.files import expanded
from saelex.installation import needs_extra
from saelex.progress import counted
from saelex.reading.json_object import parse_json
from saelex.reading.regular import one_error, regular_file
from saelex.training.examples.example import Passage, TrainingQuery

if TYPE_CHECKING:
    import pyarrow as pa

# Two teachers, or one teacher's scores normalised over different passages, differ by more than bfloat16 does.
_SAME_SCORE = 0.02


class PackedTexts:
    """Texts by number, held as bytes: a Python string costs some 50 bytes more."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, text: str) -> int:
        """Keep a text; its number."""
        self._bytes += text.encode("utf-8")
        self._ends.append(len(self._bytes))
        return len(self) - 1

    def __getitem__(self, number: int) -> str:
        return self._bytes[self._ends[number] : self._ends[number + 1]].decode("utf-8")


class Numbering:
    """Ids in the order in which they are first seen."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.numbers)

    def number(self, name: str) -> int:
        """The id's number, a new one where it is new."""
        return self.numbers.setdefault(name, len(self.numbers))

    def of_column(self, column: pa.Array, *, new: bool = True) -> NDArray[np.int64]:
        """Numbers of a column's ids [rows]; -1 for unknown ones where `new` ids are not wanted."""
        encoded = column.dictionary_encode()
        known = [self.number(name) if new else self.numbers.get(name, -1) for name in encoded.dictionary.to_pylist()]
        rows: NDArray[np.int64] = encoded.indices.to_numpy(zero_copy_only=False)
        return np.asarray(known, dtype=np.int64)[rows]


@dataclass
class PairList:
    """Pairs as they are read, in any order and with repetitions."""

    queries: list[NDArray[np.int64]] = field(default_factory=list)
    passages: list[NDArray[np.int64]] = field(default_factory=list)
    relevant: list[NDArray[np.bool_]] = field(default_factory=list)
    scores: list[NDArray[np.float32]] = field(default_factory=list)

    def add(
        self,
        queries: NDArray[np.int64],
        passages: NDArray[np.int64],
        relevant: NDArray[np.bool_],
        scores: NDArray[np.float32],
    ) -> None:
        """Add pairs, each argument [pairs]; a score is NaN where there is none."""
        self.queries.append(queries)
        self.passages.append(passages)
        self.relevant.append(relevant)
        self.scores.append(scores)

    def joined(self) -> Pairs:
        """All of them as read."""
        return Pairs(
            np.concatenate([np.empty(0, np.int64), *self.queries]),
            np.concatenate([np.empty(0, np.int64), *self.passages]),
            np.concatenate([np.empty(0, np.bool_), *self.relevant]),
            np.concatenate([np.empty(0, np.float32), *self.scores]),
        )


class Pairs(NamedTuple):
    """Numbers of query and passage, judgement and score (NaN: none), all [pairs]."""

    queries: NDArray[np.int64]
    passages: NDArray[np.int64]
    relevant: NDArray[np.bool_]
    scores: NDArray[np.float32]

    def at(self, rows: NDArray[Any]) -> Pairs:
        """The pairs at some rows, given by number or by mask."""
        return Pairs(self.queries[rows], self.passages[rows], self.relevant[rows], self.scores[rows])

    def merged(self) -> tuple[Pairs, NDArray[np.float32]]:
        """Each pair once, by query and passage: relevant if any row says so, with the middle of its scores.

        Second, how far a pair's scores lie apart, as a multiple of the larger one or of 1 [pairs].
        """
        if not len(self.queries):
            return self, self.scores
        order = np.lexsort((self.passages, self.queries))
        rows = self.at(order)
        new = (np.diff(rows.queries, prepend=-1) != 0) | (np.diff(rows.passages, prepend=-1) != 0)
        first = np.flatnonzero(new)
        scored = ~np.isnan(rows.scores)
        low = np.minimum.reduceat(np.where(scored, rows.scores, np.inf), first)
        high = np.maximum.reduceat(np.where(scored, rows.scores, -np.inf), first)
        low, high = np.where(np.isinf(low), np.nan, low), np.where(np.isinf(high), np.nan, high)
        relevant = np.logical_or.reduceat(rows.relevant, first)
        merged = Pairs(rows.queries[first], rows.passages[first], relevant, ((low + high) / 2).astype(np.float32))
        return merged, np.nan_to_num((high - low) / np.maximum(1, np.abs(high))).astype(np.float32)

    def usable_queries(self, n_queries: int, needs_scores: bool) -> NDArray[np.int64]:
        """Numbers of the queries [usable] with a positive; if scores are needed, with a scored one and a negative."""
        counted = ~np.isnan(self.scores) if needs_scores else np.ones(len(self.scores), np.bool_)
        usable = np.bincount(self.queries[counted & self.relevant], minlength=n_queries) > 0
        if needs_scores:
            usable &= np.bincount(self.queries[counted & ~self.relevant], minlength=n_queries) > 0
        return np.flatnonzero(usable)


class JudgedSource:
    """Queries whose passages are pairs.

    Queries of the same text are one: what answers one of them must not be a negative of the other.
    pairs: in any order, numbers of `queries` and `texts`; a passage -1 is left out, and blank queries are.
    Raises InputError where a pair has two scores.
    """

    def __init__(
        self,
        queries: list[str],
        texts: PackedTexts,
        pairs: Pairs,
        facts: Mapping[str, Any],
        *,
        needs_scores: bool,
        max_queries: int | None = None,
    ) -> None:
        asked = np.array([bool(query.strip()) for query in queries], dtype=np.bool_)
        merged, spread = pairs.at((pairs.passages >= 0) & asked[pairs.queries]).merged()
        if np.any(apart := spread > _SAME_SCORE):
            query = queries[int(merged.queries[np.argmax(apart)])]
            raise InputError(
                f"a passage has two scores for the query {query!r}; score all miners' files with one teacher"
            )
        same = _first_of_same_text(queries)
        # Two ids of one text may differ in score by right: several teachers are averaged per id.
        merged, _ = merged._replace(queries=same[merged.queries]).merged()
        self._order = merged.usable_queries(len(queries), needs_scores)[:max_queries]
        self._first = np.searchsorted(merged.queries, np.arange(len(queries) + 1))
        self._queries, self._texts, self._pairs = queries, texts, merged
        self._facts = {**facts, "queries_left_out": len(np.unique(same)) - self.size}

    @property
    def size(self) -> int:
        """Queries that can be used."""
        return len(self._order)

    def __getitem__(self, index: int) -> TrainingQuery:
        number = int(self._order[index])
        rows = range(int(self._first[number]), int(self._first[number + 1]))
        return TrainingQuery(
            self._queries[number],
            tuple(self._passage(row) for row in rows if self._pairs.relevant[row]),
            tuple(self._passage(row) for row in rows if not self._pairs.relevant[row]),
        )

    def facts(self) -> dict[str, Any]:
        """Pairs, queries left out, and what the opener knows."""
        return {**self._facts, "pairs": len(self._pairs.queries)}

    def _passage(self, row: int) -> Passage:
        score = float(self._pairs.scores[row])
        return Passage(self._texts[int(self._pairs.passages[row])], None if np.isnan(score) else score)


def _first_of_same_text(queries: list[str]) -> NDArray[np.int64]:
    """For each query the number of the first of the same text but for white space [queries]."""
    first: dict[str, int] = {}
    same = [first.setdefault(" ".join(query.split()), number) for number, query in enumerate(queries)]
    return np.array(same, dtype=np.int64)


def read_rows(
    path: str, columns: Mapping[str, str], *, texts: bool = False, progress: bool = False
) -> Iterator[dict[str, pa.Array]]:
    """Batches of the columns query_id, document_id, relevant and score (and query and text) of Parquet files.

    path: a file, or a folder of part files, read in the order of their names. columns: other names of the columns.
    A missing column score is null everywhere. Raises InputError naming the file where something is missing or wrong.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise needs_extra("Parquet", "pyarrow", "train") from error

    types = {"query_id": pa.string(), "document_id": pa.string(), "relevant": pa.bool_(), "score": pa.float32()}
    if texts:
        types |= {"query": pa.string(), "text": pa.string()}
    files = parquet_files(path)
    for file in counted(files, desc=Path(path).name, unit="file", shown=progress):
        try:
            with pq.ParquetFile(file) as parquet:
                yield from _batches(parquet, types, columns, file)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file}: not a readable Parquet file: {error}") from error


def parquet_files(path: str) -> list[Path]:
    """The file, or a folder's part files by name. Raises InputError where there is none."""
    root = expanded(path)
    files = sorted(root.glob("*.parquet")) if root.is_dir() else [root]
    if not files or not files[0].is_file():
        raise InputError(f"{root}: no Parquet here; `saelex mine` and `saelex score` write it")
    return files


def recorded_facts(path: str) -> dict[str, Any]:
    """What `saelex mine` or `saelex score` wrote into the first file about its making: settings, teachers.

    Raises InputError where a folder's files were made for several collections, whose ids may well be the same.
    """
    files = parquet_files(path)
    recorded = [_metadata(file) for file in files]
    collections = {json.dumps(facts["collection"], sort_keys=True) for facts in recorded if "collection" in facts}
    if len(collections) > 1:
        raise InputError(f"{path}: its files were made for {len(collections)} collections or splits; name one's files")
    return {"made_by": recorded[0]} if recorded[0] else {}


def _metadata(file: Path) -> dict[str, Any]:
    import pyarrow.parquet as pq

    with one_error(regular_file(file), "a Parquet file", "mine or score it again"):
        metadata = pq.read_schema(file).metadata or {}
    with suppress(InputError):
        facts = parse_json(metadata.get(b"saelex", b""), file)
        return facts if isinstance(facts, dict) else {}
    return {}


def _batches(
    parquet: Any, types: Mapping[str, Any], columns: Mapping[str, str], file: Path
) -> Iterator[dict[str, Any]]:
    import pyarrow as pa

    present = set(parquet.schema_arrow.names)
    named = {name: columns.get(name, name) for name in types}
    if missing := [own for name, own in named.items() if own not in present and name != "score"]:
        raise InputError(f"{file}: no column {', '.join(missing)}; it has {', '.join(sorted(present))}")
    wanted = [own for own in named.values() if own in present]
    for batch in parquet.iter_batches(columns=wanted):
        rows = {
            name: batch.column(own).cast(types[name]) if own in present else pa.nulls(len(batch), types[name])
            for name, own in named.items()
        }
        if gaps := [name for name, column in rows.items() if name != "score" and column.null_count]:
            raise InputError(f"{file}: the column {named[gaps[0]]} has gaps; every row needs a value")
        yield rows
