"""Relevance judgements as TREC's four columns: query, iteration (0), document, grade."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from saelex.corpus.documents import Qrels
from saelex.corpus.trec.columns import column
from saelex.files import expanded, write_text


def write_qrels(path: str | Path, qrels: Qrels) -> None:
    """Write judgements for trec_eval; `saelex.corpus.reading.read_qrels` reads them back.

    Gzipped where the name ends in `.gz`. A query without judgements leaves no line. Raises InputError for an id that
    is empty or holds blanks.
    """
    write_text(expanded(path), _lines(qrels))


def _lines(qrels: Qrels) -> Iterator[str]:
    for query, grades in qrels.items():
        for document, grade in grades.items():
            yield f"{column(query, 'the query id')} 0 {column(document, 'the document id')} {grade}\n"
