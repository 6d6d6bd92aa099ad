"""What an mteb task gives and takes: its corpus as documents, its queries as texts, and runs without ties."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from saelex.corpus.documents import Document, best_first
from saelex.errors import InputError

_READ = 1000  # rows of a corpus that are read together
_LEAST = np.float32(1e-30)  # between tied scores near zero, where the next number is one that processors may flush


class Corpus:
    """The documents of an mteb corpus, in ascending order of ids (as strings), read anew by every iteration.

    The index's rule for ties (first added, first found) is then the project's down to the last rank.

    rows: a `datasets.Dataset` with the columns id, text and perhaps title. task: its name, for messages.
    blank: ids of the documents without any text, known once all have been read: no system can find them.

    Raises InputError where a column is missing.
    """

    def __init__(self, rows: Any, task: str) -> None:
        check_columns(rows, f"the corpus of {task}")
        ids = [str(name) for name in rows["id"]]
        columns = [column for column in ("id", "title", "text") if column in rows.column_names]
        self._rows = rows.select_columns(columns).select(sorted(range(len(ids)), key=ids.__getitem__))
        self.blank: set[str] = set()

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Document]:
        for batch in self._rows.iter(_READ):
            titles = batch.get("title") or [""] * len(batch["id"])
            for name, title, text in zip(batch["id"], titles, batch["text"]):
                document = Document(str(name), text or "", title or "")
                if document.content:
                    yield document
                else:
                    self.blank.add(document.id)


def query_texts(queries: Any, task: str) -> dict[str, str]:
    """Query id -> text, in order. queries: a `datasets.Dataset` with the columns id, text and perhaps instruction.

    As mteb gives them to other models: an instruction comes after its query; of a conversation, which is a list of
    strings or of `{"role", "content"}`, the turns are joined by semicolons and the instruction stands before them.
    Raises InputError where a column is missing.
    """
    check_columns(queries, f"the queries of {task}")
    return {str(row["id"]): _query_text(row["text"] or "", row.get("instruction") or "") for row in queries}


def _query_text(text: str | Sequence[str | Mapping[str, str]], instruction: str) -> str:
    if isinstance(text, str):
        return f"{text} {instruction}".strip()
    turns = (turn if isinstance(turn, str) else f"{turn['role']}: {turn['content']}" for turn in text)
    return f"{instruction} {'; '.join(turns)}".strip()


def check_columns(rows: Any, what: str) -> None:
    """Raises InputError for a data set without ids or texts."""
    for column in ("id", "text"):
        if column not in rows.column_names:
            raise InputError(f"{what} has no column {column!r} but {', '.join(rows.column_names)}; saelex reads texts")


def check_task(metadata: Any) -> None:
    """Raises InputError for a task that an index cannot do: of another kind than retrieval and reranking, or of images.

    metadata: an `mteb.TaskMetadata`.
    """
    if "Retrieval" not in metadata.type and "Reranking" not in metadata.type:
        raise InputError(
            f"{metadata.name} is a task of {metadata.type}; saelex does mteb's retrieval and reranking alone"
        )
    others = sorted(set(metadata.modalities) - {"text"})
    if others:
        raise InputError(f"{metadata.name} is about {' and '.join(others)}; saelex reads text alone")


def untie(scores: Mapping[str, float], depth: int) -> dict[str, float]:
    """The `depth` best documents of a query, best first, with scores of which no two are equal in float32.

    mteb and trec_eval put the larger id first among equal scores, the project's rule (see `saelex.selection`) the
    smaller one. The scores themselves stay, since mteb measures abstention by them, but of tied ones each is the next
    lower number after the one before it.
    """
    ordered = best_first(scores)[:depth]
    apart: dict[str, float] = {}
    last, lowest = np.float32(np.inf), np.float32(-np.inf)
    for document, score in ordered:
        last = min(np.float32(score), np.nextafter(last, lowest), last - _LEAST)
        apart[document] = float(last)
    return apart
