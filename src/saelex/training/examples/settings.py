"""The section `data` of a retrieval recipe: which examples are read, from where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Source:
    """One source of training queries; see `saelex.training.examples`."""

    path: str = ""
    """File, folder or hub id."""
    kind: Literal["beir", "jsonl", "parquet", "colbert", "hub", "bge", "texts"] = "jsonl"
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
    """Other names of the columns query, positive, negatives, scores; of `texts`: text, title, key."""
    query_from: Literal["title", "first_sentence", "sentence"] = "title"
    """Of `texts`: what is the query. sentence: one of the text's, always the same."""
    exclude: list[str] = field(default_factory=list)
    """Corpora whose passages are left out, with the queries that they answer: those of a test set."""
    max_queries: int | None = None
    """Read at most so many queries; null reads all."""
    labelled: bool = True
    """Whether the passages answer their query. false: a text beside another, a title or a translation, that proves
    nothing: loss.embedding_kl alone learns from these queries, and the others take their passages as negatives."""


@dataclass(frozen=True)
class EmbeddingTeacher:
    """A dense model whose embeddings loss.embedding_kl learns from."""

    model: str = ""
    """Folder or hub id of a dense model; its prompts, pooling and length are its own."""
    temperature: float = 0.05
    """Its cosines are divided by it; start with that of its own training: 0.01 for e5, 0.05 for all-mpnet."""
    weight: float = 1.0
    """Its share in the mean of the teachers' distributions, in proportion to the others' weights."""


@dataclass(frozen=True)
class ExampleData:
    """Which examples are read."""

    sources: list[Source] = field(default_factory=list)
    """Sources, mixed by their weights."""
    negatives: int = 8
    """Negatives per query and step, drawn at random from the source's; queries that have fewer give what they have."""
    require_scores: bool | None = None
    """Leave out passages without a teacher's score; null does so where the loss needs scores."""
    teachers: list[EmbeddingTeacher] = field(default_factory=list)
    """Dense models whose embeddings loss.embedding_kl learns from."""
    embeddings: str | None = None
    """Folder that keeps the teachers' embeddings for further runs; null keeps them until the run is through."""
