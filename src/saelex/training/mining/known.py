"""Scores that `saelex score` gave before, read again to choose negatives by them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saelex.errors import InputError
from saelex.files import sha256_of
from saelex.training.mining.false_negatives import FalseNegativeFilter
from saelex.training.mining.table import read_facts, read_table


@dataclass(frozen=True, eq=False)
class KnownScores:
    """scores: query id -> document id -> score. relevant: query id -> its relevant documents among them."""

    scores: dict[str, dict[str, float]]
    relevant: dict[str, set[str]]
    corpus_sha256: str
    facts: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> KnownScores:
        """From the Parquet file of `saelex score`. Raises InputError for a file without scores."""
        scored = read_facts(path)
        facts = {"sha256": sha256_of(path), "teachers": scored.get("teachers", [])}
        table = read_table(path)
        scores: defaultdict[str, dict[str, float]] = defaultdict(dict)
        relevant: defaultdict[str, set[str]] = defaultdict(set)
        names = ("query_id", "document_id", "relevant", "score")
        for query, document, answers, score in zip(*(table[name].to_pylist() for name in names)):
            if score is not None:
                scores[query][document] = score
                if answers:
                    relevant[query].add(document)
        if not scores:
            raise InputError(f"{path}: has no scores; give it some with `saelex score`")
        return cls(dict(scores), dict(relevant), scored["collection"]["corpus_sha256"], facts)

    def false_negatives(self, query: str, rule: FalseNegativeFilter) -> set[str]:
        """The query's documents that are no safe negatives by that rule."""
        scores = self.scores.get(query, {})
        relevant = self.relevant.get(query, set())
        found = rule.false_negatives(
            np.array(list(scores.values()), np.float32),
            np.array([document in relevant for document in scores], np.bool_),
            np.zeros(len(scores), np.int64),
        )
        return {document for document, false in zip(scores, found) if false}
