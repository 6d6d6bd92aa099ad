"""A small collection with what mining must step around, and a miner whose answers are given."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from saelex.training.mining.mine import Miner
from saelex.training.mining.sources import MiningCollection

DOCUMENTS = {
    "wing": "The wing of an aircraft creates lift.",
    "wing-copy": "The wing of an aircraft creates lift.",
    "stall": "A wing stalls at high angles of attack.",
    "bank": "A bank lends money.",
    "river": "River banks flood after rain.",
    "zip": "Reading a zip archive in Python.",
    "tar": "Reading a tar archive in Python.",
    "empty": "",
}
QUERIES = {
    "lift": "how does a wing create lift",
    "archive": "read an archive in Python",
    "flood": "why do rivers flood",
    "nothing": "a query that nothing answers",
    "loan": "who lends money",
}
QRELS = {
    "lift": {"wing": 2},
    "archive": {"zip": 1, "tar": 1, "bank": 0},
    "flood": {"river": 1, "empty": 1},
    "nothing": {"wing": 0},
    "loan": {"bank": 1},
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection as a BEIR folder with one split, train."""
    root = tmp_path_factory.mktemp("mining") / "notes"
    (root / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", DOCUMENTS), ("queries", QUERIES)):
        (root / f"{name}.jsonl").write_text("".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in texts.items()))
    lines = [f"{query}\t{document}\t{grade}\n" for query, of in QRELS.items() for document, grade in of.items()]
    (root / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return root


@pytest.fixture
def collection(folder: Path) -> MiningCollection:
    """The same, read."""
    return MiningCollection.read(folder, "train")


class GivenMiner:
    """Finds what it is told to by the text of the query, and notes what it was asked; fails at one text if so told."""

    def __init__(self, name: str, answers: Mapping[str, Sequence[str]], fail_at: str | None = None) -> None:
        self.name = name
        self.answers = {QUERIES[query]: list(documents) for query, documents in answers.items()}
        self.fail_at = fail_at and QUERIES[fail_at]
        self.asked: list[str] = []

    @contextmanager
    def _open(self, scratch: Path) -> Iterator[Callable[[Sequence[str], int], Iterator[list[str]]]]:
        def search(queries: Sequence[str], depth: int) -> Iterator[list[str]]:
            for query in queries:
                if query == self.fail_at:
                    raise KeyboardInterrupt
                self.asked.append(query)
                yield self.answers.get(query, [])[:depth]

        yield search

    def miner(self, **facts: Any) -> Miner:
        """As mining takes it."""
        return Miner(self.name, facts, self._open)


def rows_of(path: Path) -> list[tuple[Any, ...]]:
    """(query, document, relevant, rank, miner, score) of every row."""
    return [tuple(row.values()) for row in pq.read_table(path).to_pylist()]
