"""A test collection, wherever it is from: documents, queries, and the relevance judgements of one split."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from saelex.corpus.documents import Document, Qrels, Query, Run
from saelex.errors import InputError

_HOLDS_ITS_QUERIES = re.compile(r"arguana|quora", re.IGNORECASE)


def holds_its_queries(name: str) -> bool:
    """Whether a collection of this name is one whose queries are documents of its corpus, under the same ids.

    ArguAna's arguments and Quora's questions: BEIR and mteb do not count a query's own document among its answers.
    """
    return _HOLDS_ITS_QUERIES.search(name) is not None


def without_own_ids(run: Run) -> Run:
    """What was found, without the document that has the query's own id."""
    return {
        query: {document: score for document, score in scores.items() if document != query}
        for query, scores in run.items()
    }


@dataclass(frozen=True)
class Collection:
    """Documents, judged queries and judgements of one split; every query has qrels and every qrels entry a query.

    source: what `saelex.corpus.opening.read_collection` read it from, so that it can be named and read again.
    name: short, for tables. split: empty where the source is a single one.
    read_documents: begins to read the documents anew at each call.
    ignore_own_ids: the document that has a query's own id is left out of what the query finds; `holds_its_queries`
        says by name where that is so, unless told otherwise.
    """

    source: str
    name: str
    split: str
    queries: list[Query]
    qrels: Qrels
    read_documents: Callable[[], Iterator[Document]] = field(repr=False, compare=False)
    ignore_own_ids: bool = False

    @classmethod
    def of_judged(
        cls,
        source: str,
        name: str,
        split: str,
        queries: Iterable[Query],
        qrels: Qrels,
        read_documents: Callable[[], Iterator[Document]],
    ) -> Collection:
        """With those of the queries that have judgements, in their order.

        Raises InputError where there are no judgements, and where a judged query has no text.
        """
        if not qrels:
            raise InputError(f"{source}: holds no relevance judgements")
        kept = [query for query in queries if query.id in qrels]
        missing = qrels.keys() - {query.id for query in kept}
        if missing:
            of = f" of {split}" if split else ""
            raise InputError(f"{source}: {len(missing)} judged queries{of} have no text, {min(missing)!r} among them")
        return cls(source, name, split, kept, qrels, read_documents, holds_its_queries(name))

    @property
    def label(self) -> str:
        """NAME:SPLIT, or the name where there is but one split."""
        return f"{self.name}:{self.split}" if self.split else self.name

    def documents(self) -> Iterator[Document]:
        """All documents of the corpus, read anew at each call."""
        return self.read_documents()

    def with_queries(self, most: int) -> Collection:
        """The same documents, and at most so many of the queries: those that one seed draws."""
        if len(self.queries) <= most:
            return self
        drawn = random.Random(0).sample(self.queries, most)
        return replace(self, queries=drawn, qrels={query.id: self.qrels[query.id] for query in drawn})
