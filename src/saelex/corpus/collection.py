"""A test collection in BEIR's layout: corpus, queries and the relevance judgements of one split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from saelex.corpus.documents import Document, Qrels, Query
from saelex.corpus.reading import read_corpus, read_qrels, read_queries
from saelex.errors import InputError


@dataclass(frozen=True)
class Collection:
    """Documents, judged queries and judgements of one split; every query has qrels and every qrels entry a query."""

    folder: Path
    split: str
    queries: list[Query]
    qrels: Qrels

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.resolve().name

    def documents(self) -> Iterator[Document]:
        """All documents of the corpus, read from the file at each call."""
        return read_corpus(self.folder)


def read_collection(folder: str | Path, split: str = "test") -> Collection:
    """The split of a BEIR folder: `corpus.jsonl`, `queries.jsonl` and `qrels/<split>.tsv`, each plain or gzipped.

    Only queries that have judgements are kept, in the order of the queries file. Raises InputError where a file is
    missing or malformed, the split does not exist (the message names those that do), or a judged query has no text.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; a test collection is a folder in BEIR's layout")
    qrels = read_qrels(_qrels_file(root, split))
    queries = [query for query in read_queries(root) if query.id in qrels]
    missing = qrels.keys() - {query.id for query in queries}
    if missing:
        raise InputError(f"{root}: {len(missing)} judged queries of {split} have no text, {min(missing)!r} among them")
    return Collection(root, split, queries, qrels)


def named_split(folder: str, split: str = "test") -> tuple[str, str]:
    """`FOLDER:SPLIT` unless that is itself a path."""
    if not Path(folder).exists() and ":" in folder:
        root, _, own = folder.rpartition(":")
        return root, own
    return folder, split


def _qrels_file(root: Path, split: str) -> Path:
    for name in (f"{split}.tsv", f"{split}.tsv.gz"):
        if (root / "qrels" / name).is_file():
            return root / "qrels" / name
    splits = sorted({path.name.split(".tsv")[0] for path in (root / "qrels").glob("*.tsv*")})
    known = f"it has {', '.join(splits)}" if splits else "it has no qrels/<split>.tsv at all"
    raise InputError(f"{root}: no split {split!r}; {known}")
