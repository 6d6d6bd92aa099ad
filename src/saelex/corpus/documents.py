"""The things that retrieval is about: a document, a query, relevance judgements (qrels) and a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Qrels = dict[str, dict[str, int]]
"""Relevance judgements: query id -> document id -> grade (0 is judged and not relevant)."""

Run = dict[str, dict[str, float]]
"""What a system answered: query id -> document id -> score."""


@dataclass(frozen=True)
class Document:
    """A document to be found.

    id: unique in its corpus, not empty.
    text, title: what is searched; see `content`.
    metadata: anything else that is to be kept and filtered on; JSON values under string keys.
    """

    id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """Title and text joined by one space (BEIR's habit), stripped.

        This string is what gets encoded; character spans in an explanation refer to it.
        """
        return f"{self.title} {self.text}".strip()


@dataclass(frozen=True)
class Query:
    """A query of a test collection; its id is the one that the qrels use."""

    id: str
    text: str


def best_first(scores: Mapping[str, float]) -> list[tuple[str, float]]:
    """One query's documents with their scores, higher ones first; ties: see `saelex.selection`."""
    return sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))
