"""What came of an evaluation over languages: all that tables and reports read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from saelex.evaluation.languages.latents import LatentsByLanguage
from saelex.evaluation.languages.sets import Pair
from saelex.evaluation.results import Comparison

FORMAT = "saelex-languages/1"
PIVOT = "en"
"""The language that cross-lingual search goes into and out of."""

Measures = dict[str, dict[str, float]]
"""system -> measure -> mean over the queries."""


@dataclass(frozen=True)
class Group:
    """Pairs of languages that are averaged, each counting alike.

    comparisons: of the systems with the reference, paired by query: a query's value is its mean over the pairs, since
        a query and its translations are one question.
    """

    name: str
    pairs: list[Pair]
    measures: Measures
    comparisons: list[Comparison]

    def comparison(self, measure: str, first: str, second: str) -> Comparison | None:
        """The comparison of two systems in this order; None if they were not compared."""
        wanted = (measure, first, second)
        return next((one for one in self.comparisons if (one.measure, one.first, one.second) == wanted), None)


@dataclass(frozen=True)
class MixedIndex:
    """One index of all languages' documents, asked in each: a query's documents count in every language.

    measures: language of the queries -> system -> measure -> mean.
    shares: system -> language of the queries -> language of documents -> its share of the first `places` places; even
        is one over the number of languages.
    """

    measures: dict[str, Measures]
    shares: dict[str, dict[str, dict[str, float]]]
    places: int


@dataclass(frozen=True)
class LanguageMatrix:
    """Every system on every pair of languages of one set.

    n_documents, words: language of documents -> how many are searched, and whose rules cut words beside concepts.
    latents: model -> what its latents share across languages; empty where documents are of one language only.
    """

    name: str
    n_queries: int
    n_documents: dict[str, int]
    words: dict[str, str]
    cells: dict[Pair, Measures]
    groups: list[Group]
    latents: dict[str, LatentsByLanguage] = field(default_factory=dict)
    mixed: MixedIndex | None = None

    @property
    def query_languages(self) -> list[str]:
        """Rows of the matrix."""
        return list(dict.fromkeys(query for query, _ in self.cells))

    @property
    def document_languages(self) -> list[str]:
        """Columns of the matrix."""
        return list(dict.fromkeys(document for _, document in self.cells))

    def values(self, system: str, measure: str) -> dict[Pair, float]:
        """One system's matrix of a measure."""
        return {pair: of[system][measure] for pair, of in self.cells.items()}

    def to_json(self) -> dict[str, Any]:
        """As JSON values; pairs become "query_language" and "document_language"."""
        return {
            "name": self.name,
            "n_queries": self.n_queries,
            "n_documents": self.n_documents,
            "words": self.words,
            "cells": [
                {"query_language": query, "document_language": document, "systems": of}
                for (query, document), of in self.cells.items()
            ],
            "groups": [asdict(one) for one in self.groups],
            "latents": {name: asdict(one) for name, one in self.latents.items()},
            "mixed": None if self.mixed is None else asdict(self.mixed),
        }


@dataclass(frozen=True)
class LanguageEvaluation:
    """Systems on sets of several languages. facts: those of `saelex.evaluation.results.Evaluation`."""

    matrices: list[LanguageMatrix]
    facts: dict[str, Any]

    @property
    def systems(self) -> list[str]:
        """Names of the systems, in the order of tables."""
        return list(self.facts["systems"])

    @property
    def measures(self) -> list[str]:
        """Names of the measures, in the order of tables; matrices show the first."""
        return list(self.facts["measures"])

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"format": FORMAT, "facts": self.facts, "sets": [one.to_json() for one in self.matrices]}


def groups_of(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """What is averaged of these pairs, by name; groups without pairs, and those that another one equals, left out."""
    kinds: Mapping[str, list[Pair]] = {
        "monolingual": [(query, document) for query, document in pairs if query == document],
        "into English": [(query, document) for query, document in pairs if query != document == PIVOT],
        "out of English": [(query, document) for query, document in pairs if document != query == PIVOT],
        "cross-lingual": [(query, document) for query, document in pairs if query != document],
        "all": list(pairs),
    }
    found: dict[str, list[Pair]] = {}
    for name, members in kinds.items():
        if members and members not in found.values():
            found[name] = members
    return found
