"""The section `data` of a retrieval recipe: which examples are read, from where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Source:
    """One source of training queries; see `saelex.training.examples`."""

    path: str = ""
    """File, folder or hub id."""
    kind: Literal["beir", "jsonl", "parquet", "colbert", "hub", "bge"] = "jsonl"
    """Its layout."""
    split: str = "train"
    """Split of a BEIR folder or of a hub data set."""
    subset: str | None = None
    """Configuration of a hub data set."""
    weight: float = 1.0
    """Share of the examples that come from here, in proportion to the others' weights."""
    corpus: str | None = None
    """Where passages are named by id: their texts (JSONL or TSV); null takes what lies beside `path`."""
    queries: str | None = None
    """Where queries are named by id: their texts; null takes what lies beside `path`."""
    negatives: str | None = None
    """Parquet of `saelex mine` or `saelex score` for a BEIR folder's queries; null: the source has its own or none."""
    columns: dict[str, str] = field(default_factory=dict)
    """Other names of the columns query, positive, negatives, scores."""
    exclude: list[str] = field(default_factory=list)
    """Corpora whose passages are left out, with the queries that they answer: those of a test set."""
    max_queries: int | None = None
    """Read at most so many queries; null reads all."""


@dataclass(frozen=True)
class ExampleData:
    """Which examples are read."""

    sources: list[Source] = field(default_factory=list)
    """Sources, mixed by their weights."""
    negatives: int = 8
    """Negatives per query and step, drawn at random from the source's; queries that have fewer give what they have."""
    require_scores: bool | None = None
    """Leave out passages without a teacher's score; null does so where the loss needs scores."""
