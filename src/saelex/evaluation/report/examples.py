"""Single queries behind a difference of two systems: where it is largest, what both found, and why.

Gathered while the documents, and what explains a score, are at hand; a report only shows them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from saelex.concepts.explanation import Explanation
from saelex.corpus.documents import Qrels
from saelex.evaluation.drawing.pages import cut
from saelex.evaluation.measures import untied
from saelex.evaluation.report.choices import collection_key
from saelex.evaluation.results import CollectionResult
from saelex.evaluation.significance import wins_losses_ties

if TYPE_CHECKING:
    from saelex.corpus.collection import Collection

Explain = Callable[[str, str, str], Explanation | None]
"""(system, text of a query, id of a document) -> why the document has its score; None where nobody can say."""

_MOST_DOCUMENTS = 10
_QUERY_LENGTH, _DOCUMENT_LENGTH = 300, 160  # characters


@dataclass(frozen=True)
class RankedDocument:
    """A judged document of a query, and its rank in either run; None where the run does not have it."""

    id: str
    text: str
    grade: int
    first: int | None
    second: int | None


@dataclass(frozen=True)
class ExplainedHit:
    """Why one system found one document. grade: None where it was not judged."""

    system: str
    id: str
    text: str
    rank: int
    grade: int | None
    explanation: Explanation


@dataclass(frozen=True)
class QueryExample:
    """One query under two systems.

    first, second: the measure's values. documents: relevant ones first, then by rank, at most ten of the `judged`.
    """

    id: str
    text: str
    first: float
    second: float
    documents: list[RankedDocument]
    judged: int
    hits: list[ExplainedHit]


@dataclass(frozen=True)
class CollectionExamples:
    """Queries of one collection: where the first system is better by most, and where the second is.

    collection: name and split, as in `collection_key`.
    """

    collection: str
    gains: list[QueryExample]
    losses: list[QueryExample]


@dataclass(frozen=True)
class Examples:
    """Queries behind the difference of two systems under one measure, by collection."""

    measure: str
    first: str
    second: str
    collections: list[CollectionExamples]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def differences(result: CollectionResult, measure: str, first: str, second: str) -> dict[str, float]:
    """Query id -> value of the first system less that of the second, in ascending order of ids."""
    one, other = (result.system(name).per_query[measure] for name in (first, second))
    return {query: one.get(query, 0.0) - other.get(query, 0.0) for query in sorted(one.keys() | other.keys())}


def gather_examples(
    result: CollectionResult,
    collection: Collection,
    measure: str,
    pair: tuple[str, str],
    *,
    explain: Explain | None = None,
    count: int = 3,
) -> CollectionExamples:
    """The `count` queries with the largest gains and the `count` with the largest losses; the smaller id breaks ties.

    collection: what `result` was measured on; its documents are read once, and only those that are shown are kept.
    explain: asked for the relevant document that the better system ranks above the other by most, under both, and for
    the other's first document where that is not relevant. Raises InputError for a system that was not measured.
    """
    gains, losses = _extremes(differences(result, measure, *pair), count)
    texts = {query.id: query.text for query in collection.queries}
    lines = {query: _Line.of(result, collection.qrels, query, pair) for query in (*gains, *losses)}
    chosen = {query: line.explained(gain=query in gains) for query, line in lines.items()}
    wanted = {document for line in lines.values() for document, *_ in line.shown}
    wanted |= {document for hits in chosen.values() for _, document in hits}
    contents = {one.id: cut(one.content, _DOCUMENT_LENGTH) for one in collection.documents() if one.id in wanted}

    def example(query: str) -> QueryExample:
        line = lines[query]
        first, second = (result.system(name).per_query[measure].get(query, 0.0) for name in pair)
        documents = [
            RankedDocument(one, contents.get(one, ""), grade, rank, other) for one, grade, rank, other in line.shown
        ]
        hits = [] if explain is None else list(_hits(explain, texts[query], line, chosen[query], contents))
        return QueryExample(query, cut(texts[query], _QUERY_LENGTH), first, second, documents, len(line.grades), hits)

    return CollectionExamples(collection_key(result), list(map(example, gains)), list(map(example, losses)))


def _extremes(found: Mapping[str, float], count: int) -> tuple[list[str], list[str]]:
    """Queries with the largest gains and with the largest losses."""
    falling = sorted(found, key=lambda query: (-found[query], query))
    rising = sorted(found, key=lambda query: (found[query], query))
    gains = [query for query in falling[:count] if wins_losses_ties([found[query]])[0]]
    return gains, [query for query in rising[:count] if wins_losses_ties([found[query]])[1]]


def _hits(
    explain: Explain, query: str, line: _Line, chosen: Sequence[tuple[int, str]], contents: Mapping[str, str]
) -> Iterator[ExplainedHit]:
    for side, document in chosen:
        reasons = explain(line.pair[side], query, document)
        if reasons is not None:
            rank, grade = line.ranks[side][document], line.grades.get(document)
            yield ExplainedHit(line.pair[side], document, contents.get(document, ""), rank, grade, reasons)


@dataclass(frozen=True)
class _Line:
    """A query's judgements and its ranks in the runs of a pair. shown: (document, grade, rank, rank)."""

    pair: tuple[str, str]
    grades: Mapping[str, int]
    ranks: tuple[dict[str, int], dict[str, int]]
    shown: Sequence[tuple[str, int, int | None, int | None]]

    @classmethod
    def of(cls, result: CollectionResult, qrels: Qrels, query: str, pair: tuple[str, str]) -> _Line:
        grades = qrels.get(query, {})
        first, second = (_ranks(result.system(name).run.get(query, {})) for name in pair)
        rows = [(document, grade, first.get(document), second.get(document)) for document, grade in grades.items()]
        rows.sort(key=lambda row: (-row[1], min(rank or math.inf for rank in row[2:]), row[0]))
        return cls(pair, grades, (first, second), rows[:_MOST_DOCUMENTS])

    def explained(self, *, gain: bool) -> list[tuple[int, str]]:
        """(side of the pair, document) of the hits that show why the one side is better; gain: the first is."""
        better, worse = (0, 1) if gain else (1, 0)
        ranks, others = self.ranks[better], self.ranks[worse]

        def lead(document: str) -> float:
            return 1 / ranks[document] - (1 / others[document] if document in others else 0)

        chosen = []
        relevant = [document for document, grade in self.grades.items() if grade > 0 and document in ranks]
        if relevant:
            best = min(relevant, key=lambda document: (-lead(document), document))
            chosen.append((better, best))
            if best in others:
                chosen.append((worse, best))
        top = next(iter(others), None)
        if top is not None and self.grades.get(top, 0) <= 0:
            chosen.append((worse, top))
        return chosen


def _ranks(scores: Mapping[str, float]) -> dict[str, int]:
    """Document -> rank from 1, best first, under the rule for ties."""
    ordered = untied({"": dict(scores)}, max(1, len(scores)))[""]
    return {document: rank for rank, document in enumerate(ordered, start=1)}
