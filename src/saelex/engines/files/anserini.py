"""Anserini: its JsonVectorCollection, whose weights are integers that Lucene keeps as term frequencies."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from saelex.corpus.documents import Document, Query
from saelex.engines.files.format import Format, Summary, Vector
from saelex.errors import InputError


@dataclass(frozen=True)
class Anserini:
    """Documents for `-collection JsonVectorCollection -impact -pretokenized`, queries as a TsvString topics file."""

    name: ClassVar = "anserini"

    levels: int = 100
    """The integer that the heaviest weight of a side becomes; weights are off by at most 1 / (2 levels) of it."""

    def __post_init__(self) -> None:
        if self.levels < 1:
            raise InputError(f"anserini: levels must be at least 1, not {self.levels}")

    @property
    def limits(self) -> str:
        """See Format."""
        return (
            f"Anserini: weights become integers up to {self.levels} (indexing cost grows with them); no blanks in ids"
        )

    def settings(self, summary: Summary) -> dict[str, Any]:
        """The commands' options, and the steps: a score is Anserini's score times both steps."""
        return {
            "index": "-collection JsonVectorCollection -generator DefaultLuceneDocumentGenerator -impact -pretokenized",
            "search": "-topicReader TsvString -impact -pretokenized",
            "document_step": summary.heaviest / self.levels,
            "query_step": summary.heaviest_query / self.levels,
        }

    def document(self, document: Document, vector: Vector, summary: Summary) -> str:
        """`{"id", "contents", "vector": {"column": integer}}`."""
        _check_id(document.id)
        columns, integers = self._integers(vector, summary.heaviest)
        weights = dict(zip(map(str, columns.tolist()), integers.tolist()))
        return json.dumps({"id": document.id, "contents": document.content, "vector": weights}, ensure_ascii=False)

    def query(self, query: Query, vector: Vector, summary: Summary) -> str:
        """`id<TAB>column column ...`, each column as often as its weight says."""
        _check_id(query.id)
        columns, integers = self._integers(vector, summary.heaviest_query)
        return f"{query.id}\t{' '.join(map(str, np.repeat(columns, integers).tolist()))}"

    def _integers(self, vector: Vector, heaviest: float) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        integers = np.rint(vector.weights / np.float64(heaviest) * self.levels).astype(np.int64)
        kept = integers > 0
        return vector.columns[kept], integers[kept]


def _check_id(name: str) -> None:
    if any(character.isspace() for character in name):
        raise InputError(f"the id {name!r} holds a blank; Anserini's run files separate columns by blanks")


FORMATS: tuple[type[Format], ...] = (Anserini,)
