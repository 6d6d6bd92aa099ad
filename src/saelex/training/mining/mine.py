"""Hard negatives: what miners (BM25, an index, an encoder) find for a query and the judgements do not call relevant."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from saelex.corpus.documents import Query
from saelex.encoder.batching import windows
from saelex.errors import InputError
from saelex.files import write_text
from saelex.progress import progress_bar
from saelex.reading.json_object import read_json
from saelex.training.mining.false_negatives import FalseNegativeFilter
from saelex.training.mining.known import KnownScores
from saelex.training.mining.sources import MiningCollection
from saelex.training.mining.table import QRELS, read_table, require_pyarrow, schema, write_tables
from saelex.training.mining.work import PART, is_done, remove, work_folder

if TYPE_CHECKING:
    import pyarrow

Search = Callable[[Sequence[str], int], Iterable[Sequence[str]]]
"""Texts of queries and a depth -> for every query the ids of at most so many documents, best first."""


class Miner(NamedTuple):
    """Something that finds documents for queries.

    name: the `miner` of its rows. facts: what tells it from another of the same name, such as a fingerprint; JSON.
    open: makes it ready; it may keep files in the folder it is given, which goes when all is done.
    """

    name: str
    facts: Mapping[str, Any]
    open: Callable[[Path], AbstractContextManager[Search]]


@dataclass(frozen=True)
class MiningSettings:
    """Which of the documents that a miner finds become negatives.

    depth: ranks looked at. skip_top: ranks left out at the top, where false negatives are most frequent. keep: taken
    from the best of those that are left; random: so many more, drawn from the others down to `depth` (SPLADE-v3,
    arXiv 2403.06789, takes 50 of the first 50 ranks and 50 of the first 1,000). seed: of that draw.
    """

    depth: int = 100
    keep: int = 30
    random: int = 0
    skip_top: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.keep, self.random, self.skip_top) < 0 or not self.keep + self.random:
            raise InputError("--keep, --random and --skip-top are numbers from 0, and --keep or --random above 0")
        if self.depth < self.skip_top + self.keep + self.random:
            raise InputError(
                f"--depth {self.depth} has no {self.keep + self.random} ranks below the {self.skip_top} skipped; "
                "look deeper"
            )


class Mined(NamedTuple):
    """What was found. fresh: False where the output was there already."""

    queries: int
    negatives: int
    fresh: bool

    @classmethod
    def of(cls, output: Path, *, fresh: bool) -> Mined:
        """Counted in the file; a negative that several miners found counts for each."""
        table = read_table(output)
        return cls(len(table["query_id"].unique()), table["relevant"].to_pylist().count(False), fresh)


@dataclass
class Mining:
    """One run of `saelex mine`.

    collection: the queries, what answers them, and the texts. miners: each asked for every query. known: scores of an
    earlier run, whose false negatives by `filter` are left out, and which are written beside the pairs they know.
    """

    collection: MiningCollection
    miners: Sequence[Miner]
    settings: MiningSettings = field(default_factory=MiningSettings)
    known: KnownScores | None = None
    filter: FalseNegativeFilter = field(default_factory=FalseNegativeFilter)
    progress: bool = False

    def __post_init__(self) -> None:
        names = [miner.name for miner in self.miners]
        if not names:
            raise InputError("no miner; give --by bm25, an index or an encoder")
        if len(set(names)) < len(names) or QRELS in names:
            raise InputError(f"miners need different names, none of them {QRELS!r}, not {', '.join(names)}")
        if self.filter.active and self.known is None:
            raise InputError("--drop-above and --drop-margin need the scores of an earlier run; name them by --from")
        if self.known is not None and self.known.corpus_sha256 != self.collection.facts["corpus_sha256"]:
            raise InputError(f"--from has scores for another corpus than that of {self.collection.name}; score it anew")

    def run(self, output: Path) -> Mined:
        """Mine, and write the Parquet file that `table` describes; go on where an earlier run with it stopped.

        Raises InputError where the output, or the parts beside it, were made with other settings, and for a miner that
        finds documents which the collection does not have.
        """
        require_pyarrow()
        facts = self.facts()
        if is_done(output, facts):
            return Mined.of(output, fresh=False)
        folder = work_folder(output, {name: facts[name] for name in ("collection", "miners", "depth")} | {"part": PART})
        for number in range(len(self.miners)):
            self._search(number, folder)
        write_tables(output, schema(facts=facts), self._joined(folder))
        remove(folder)
        return Mined.of(output, fresh=True)

    def facts(self) -> dict[str, Any]:
        """What the output depends on, for its metadata."""
        return {
            "command": "mine",
            "collection": self.collection.facts,
            "miners": {miner.name: dict(miner.facts) for miner in self.miners},
            **vars(self.settings),
            "known": None if self.known is None else self.known.facts | vars(self.filter),
        }

    # ---- searching, a part at a time --------------------------------------------------------------------------------

    def _parts(self) -> Iterator[tuple[int, list[Query]]]:
        yield from enumerate(windows(self.collection.queries, PART))

    def _search(self, number: int, folder: Path) -> None:
        """Write what one miner finds, a JSON file of {query: documents} for each part that is not there yet."""
        missing = [(part, queries) for part, queries in self._parts() if not _found(folder, number, part).exists()]
        if not missing:
            return
        miner = self.miners[number]
        total = sum(len(queries) for _, queries in missing)
        bar = progress_bar(total=total, desc=miner.name, unit="query", shown=self.progress)
        with bar, miner.open(folder / f"miner{number}") as search:
            for part, queries in missing:
                ranked = search([query.text for query in queries], self.settings.depth)
                found = {}
                for query, documents in zip(queries, ranked):
                    found[query.id] = list(documents)
                    bar.update()
                self._check(found, miner.name)
                write_text(_found(folder, number, part), [json.dumps(found, ensure_ascii=False)])

    def _check(self, found: Mapping[str, Sequence[str]], miner: str) -> None:
        for documents in found.values():
            for document in documents:
                if document not in self.collection.texts:
                    raise InputError(
                        f"{miner} finds the document {document!r}, which {self.collection.name} does not have; "
                        "mine with an index of this collection"
                    )

    # ---- choosing and joining ---------------------------------------------------------------------------------------

    def _joined(self, folder: Path) -> Iterator[pyarrow.Table]:
        import pyarrow as pa

        columns = ("query_id", "document_id", "relevant", "rank", "miner", "score")
        for part, queries in self._parts():
            found = [read_json(_found(folder, number, part)) for number in range(len(self.miners))]
            rows = [
                row for query in queries for row in self._rows_of(query, [ranked.get(query.id, []) for ranked in found])
            ]
            if rows:
                yield pa.table(dict(zip(columns, map(list, zip(*rows)))), schema=schema())

    def _rows_of(self, query: Query, found: Sequence[Sequence[str]]) -> Iterator[tuple[Any, ...]]:
        """The query's rows: its relevant documents, then every miner's negatives by rank."""
        scores = {} if self.known is None else self.known.scores.get(query.id, {})
        relevant = self.collection.relevant[query.id]
        for document in relevant:
            yield query.id, document, True, None, QRELS, scores.get(document)
        texts = self.collection.texts
        answers = {texts[document] for document in relevant}  # the same text under another id answers just as well
        false = set() if self.known is None else self.known.false_negatives(query.id, self.filter)
        for miner, documents in zip(self.miners, found):
            allowed = {document for document in documents if document not in false and texts[document] not in answers}
            for rank in self._chosen(query.id, documents, allowed):
                document = documents[rank - 1]
                yield query.id, document, False, rank, miner.name, scores.get(document)

    def _chosen(self, query_id: str, documents: Sequence[str], allowed: set[str]) -> list[int]:
        """Ranks, from 1, of the documents that become negatives, ascending."""
        settings = self.settings
        ranks = [
            rank for rank, document in enumerate(documents, start=1) if rank > settings.skip_top and document in allowed
        ]
        first, others = ranks[: settings.keep], ranks[settings.keep :]
        if not settings.random or not others:
            return first
        # by the query's id, so that its draw is the same whichever part it is in
        digest = hashlib.sha256(f"{settings.seed} {query_id}".encode()).digest()
        drawn = np.random.default_rng(int.from_bytes(digest[:8], "big")).permutation(len(others))[: settings.random]
        return first + sorted(others[i] for i in drawn)


def _found(folder: Path, number: int, part: int) -> Path:
    return folder / f"miner{number}-{part:05}.json"
