"""Teachers' scores for mined pairs, aggregated, with false negatives dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.errors import InputError
from saelex.files import replacing, sha256_of
from saelex.progress import progress_bar
from saelex.reading.arrays import read_npy
from saelex.training.mining.aggregation import Aggregation
from saelex.training.mining.embeddings import CHUNK
from saelex.training.mining.false_negatives import FalseNegativeFilter
from saelex.training.mining.sources import read_texts
from saelex.training.mining.table import read_facts, read_table, require_pyarrow, schema, write_tables
from saelex.training.mining.teachers import Pairs, Teacher
from saelex.training.mining.work import PART, is_done, remove, work_folder

if TYPE_CHECKING:
    import pyarrow


class Scored(NamedTuple):
    """What was scored. rows: of the output, and how many of the input's it lacks."""

    rows: int
    dropped: int
    fresh: bool


class Part(NamedTuple):
    """Some queries' rows and pairs: ranges of both, in the order of the queries."""

    rows: slice
    pairs: slice


@dataclass(frozen=True, eq=False)
class MinedPairs:
    """The rows of a mined file in the order of their queries, and the different pairs in them.

    table: the rows; pair: int64 [rows], the number of each row's pair; relevant: bool [pairs].
    """

    table: pyarrow.Table
    pair: NDArray[np.int64]
    relevant: NDArray[np.bool_]
    pairs: Pairs

    @classmethod
    def of(cls, table: pyarrow.Table, queries: dict[str, str], documents: dict[str, str]) -> MinedPairs:
        """queries, documents: texts by id, of all that the table names."""
        coded = [table[name].combine_chunks().dictionary_encode() for name in ("query_id", "document_id")]
        query, document = (np.asarray(one.indices, np.int64) for one in coded)  # [rows]
        query_ids, document_ids = (one.dictionary.to_pylist() for one in coded)
        order = np.argsort(query, kind="stable")
        keys = query[order] * len(document_ids) + document[order]
        different, pair = np.unique(keys, return_inverse=True)
        relevant = np.zeros(len(different), np.bool_)
        np.logical_or.at(relevant, pair, np.asarray(table["relevant"])[order])
        pairs = Pairs(
            query_ids,
            document_ids,
            [queries[name] for name in query_ids],
            [documents[name] for name in document_ids],
            different // len(document_ids),
            different % len(document_ids),
        )
        return cls(table.take(order), pair.reshape(-1), relevant, pairs)

    @cached_property
    def parts(self) -> list[Part]:
        """PART queries each."""
        borders = np.arange(0, len(self.pairs.query_ids) + PART, PART)
        rows = np.searchsorted(self.pairs.query[self.pair], borders)
        pairs = np.searchsorted(self.pairs.query, borders)
        return [Part(slice(*rows[i : i + 2]), slice(*pairs[i : i + 2])) for i in range(len(borders) - 1)]


@dataclass
class Scoring:
    """One run of `saelex score`.

    folder: the BEIR folder that `examples`, a file of `saelex mine`, was mined from. teachers: each scores every pair.
    filter: which negatives are dropped, by the aggregated scores before they are scaled. with_text: texts are written.
    """

    folder: Path
    examples: Path
    teachers: Sequence[Teacher]
    aggregation: Aggregation = field(default_factory=Aggregation)
    filter: FalseNegativeFilter = field(default_factory=FalseNegativeFilter)
    with_text: bool = False
    progress: bool = False

    def run(self, output: Path) -> Scored:
        """Score, and write the Parquet file that `table` describes; go on where an earlier run with it stopped.

        Weights, scale and filter may differ from the run that stopped: they do not decide what the teachers say.
        Raises InputError where the output, or the parts beside it, were made with other settings, for examples of
        another corpus, and for a teacher that gives no finite number.
        """
        require_pyarrow()
        self.aggregation.check(len(self.teachers))
        mined = self._read()
        facts = self._facts
        if is_done(output, facts):
            rows = len(read_table(output))
            return Scored(rows, len(mined.table) - rows, fresh=False)
        parts = {"part": PART, "vectors": CHUNK}
        decisive = ("examples_sha256", "collection", "teachers")
        folder = work_folder(output, {name: facts[name] for name in decisive} | parts)
        for number, teacher in enumerate(self.teachers):
            self._score(teacher, mined, folder / f"teacher{number}")
        rows = write_tables(output, schema(texts=self.with_text, facts=facts), self._joined(mined, folder))
        remove(folder)
        return Scored(rows, len(mined.table) - rows, fresh=True)

    @cached_property
    def _mined_facts(self) -> dict[str, Any]:
        return read_facts(self.examples)

    @property
    def _facts(self) -> dict[str, Any]:
        return {
            "command": "score",
            "collection": self._mined_facts["collection"],
            "teachers": [{"name": teacher.name, **teacher.facts} for teacher in self.teachers],
            **vars(self.aggregation),
            **{f"drop_{name}": value for name, value in vars(self.filter).items()},
            "with_text": self.with_text,
            "examples_sha256": sha256_of(self.examples),
            "mined": self._mined_facts,
        }

    def _read(self) -> MinedPairs:
        collection = self._mined_facts["collection"]
        table = read_table(self.examples)
        wanted = [set(table[name].unique().to_pylist()) for name in ("query_id", "document_id")]
        texts = read_texts(self.folder, *wanted)
        for what in ("corpus", "queries"):
            if getattr(texts, f"{what}_sha256") != collection[f"{what}_sha256"]:
                raise InputError(
                    f"{self.folder}: not the {what} that {self.examples} was mined from "
                    f"({collection['name']}); name that folder, or mine again"
                )
        return MinedPairs.of(table, texts.queries, texts.documents)

    # ---- scoring, a part at a time ----------------------------------------------------------------------------------

    def _score(self, teacher: Teacher, mined: MinedPairs, folder: Path) -> None:
        """Write one teacher's scores, a `.npy` file for each part that is not there yet."""
        parts = enumerate(mined.parts)
        missing = {part: of.pairs for part, of in parts if not _scores(folder, part).exists()}
        if not missing:
            return
        folder.mkdir(exist_ok=True)
        total = sum(pairs.stop - pairs.start for pairs in missing.values())
        bar = progress_bar(total=total, desc=teacher.name, unit="pair", shown=self.progress)
        with teacher.open(mined.pairs, folder) as score, bar:
            for part, pairs in missing.items():
                found = score(pairs.start, pairs.stop, bar.update).astype(np.float32, copy=False)
                _check(found, mined.pairs, pairs, teacher.name)
                with replacing(_scores(folder, part)) as temporary, temporary.open("wb") as file:
                    np.save(file, found)

    # ---- joining ----------------------------------------------------------------------------------------------------

    def _joined(self, mined: MinedPairs, folder: Path) -> Iterator[pyarrow.Table]:
        import pyarrow as pa

        for number, (rows, pairs) in enumerate(mined.parts):
            query = mined.pairs.query[pairs] - mined.pairs.query[pairs.start]
            raw = [read_npy(_scores(folder / f"teacher{i}", number)) for i in range(len(self.teachers))]
            scores = self.aggregation.combine(raw, query)  # [pairs]
            dropped = self.filter.false_negatives(scores, mined.relevant[pairs], query)
            pair = mined.pair[rows]
            kept = np.flatnonzero(~dropped[pair - pairs.start])
            pair = pair[kept]
            table = mined.table.slice(rows.start, rows.stop - rows.start).take(kept)
            scaled = (scores * self.aggregation.scale).astype(np.float32)[pair - pairs.start]
            table = table.set_column(table.schema.get_field_index("score"), "score", pa.array(scaled))
            if self.with_text:
                of = mined.pairs
                for name, texts, which in (
                    ("query", of.query_texts, of.query),
                    ("text", of.document_texts, of.document),
                ):
                    table = table.append_column(name, pa.array([texts[i] for i in which[pair]]))
            yield table


def _scores(folder: Path, part: int) -> Path:
    return folder / f"scores{part:05}.npy"


def _check(scores: NDArray[np.float32], pairs: Pairs, of: slice, teacher: str) -> None:
    """Raises InputError unless all scores are finite."""
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        pair = of.start + bad[0]
        query, document = pairs.query_ids[pairs.query[pair]], pairs.document_ids[pairs.document[pair]]
        raise InputError(
            f"{teacher} scores query {query!r} and document {document!r} {scores[bad[0]]}, as {len(bad):,} pairs in "
            "this part; a teacher must give finite numbers"
        )
