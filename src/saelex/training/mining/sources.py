"""A collection as mining and scoring see it: queries, what answers them, texts, and digests that identify it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saelex.corpus.documents import Query
from saelex.corpus.reading import read_corpus, read_queries
from saelex.corpus.sources.beir import read_beir
from saelex.errors import InputError


class Digest:
    """sha256 over records: a line of JSON for each, so that it does not matter how the file is compressed."""

    def __init__(self, records: Iterable[Any] = ()) -> None:
        self._hash = hashlib.sha256()
        for record in records:
            self.add(record)

    def add(self, record: Any) -> None:
        """One more line."""
        self._hash.update(json.dumps(record, ensure_ascii=False).encode() + b"\n")

    def hex(self) -> str:
        """Of all lines so far."""
        return self._hash.hexdigest()


@dataclass(frozen=True)
class Texts:
    """Texts by id, and the digests of all that the folder holds ([id, text] a line), wanted or not."""

    queries: dict[str, str]
    documents: dict[str, str]
    corpus_sha256: str
    queries_sha256: str


def read_texts(folder: Path, queries: Set[str] | None = None, documents: Set[str] | None = None) -> Texts:
    """The texts of a BEIR folder's queries and documents (title and text): those named, None for all with a text."""
    kept: tuple[dict[str, str], dict[str, str]] = ({}, {})
    digests = Digest(), Digest()
    pairs = (
        ((query.id, query.text) for query in read_queries(folder)),
        ((document.id, document.content) for document in read_corpus(folder)),
    )
    for texts, digest, entries, wanted in zip(kept, digests, pairs, (queries, documents)):
        for name, text in entries:
            digest.add([name, text])
            if text.strip() if wanted is None else name in wanted:
                texts[name] = text
    return Texts(*kept, corpus_sha256=digests[1].hex(), queries_sha256=digests[0].hex())


@dataclass(frozen=True)
class MiningCollection:
    """Queries that have an answer, with all texts in memory.

    relevant: query id -> its relevant documents (grade above 0), those that have a text, never none. texts: document id
    -> title and text. facts: name, split and digests: what tells this collection from another.
    """

    name: str
    queries: list[Query]
    relevant: dict[str, list[str]]
    texts: dict[str, str]
    facts: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, split: str = "train") -> MiningCollection:
        """From a BEIR folder's split. Raises InputError where no query has a relevant document."""
        collection = read_beir(folder, split)
        texts = read_texts(folder)
        relevant = {}
        for query in collection.queries:
            grades = collection.qrels[query.id]
            found = [document for document, grade in grades.items() if grade > 0 and document in texts.documents]
            if found and query.text.strip():
                relevant[query.id] = found
        if not relevant:
            raise InputError(f"{folder}: no query of {split} has a relevant document with a text")
        queries = [query for query in collection.queries if query.id in relevant]
        facts = {
            "name": collection.name,
            "split": collection.split,
            "corpus_sha256": texts.corpus_sha256,
            "queries_sha256": texts.queries_sha256,
            "qrels_sha256": Digest(collection.qrels.items()).hex(),
        }
        return cls(collection.name, queries, relevant, texts.documents, facts)
