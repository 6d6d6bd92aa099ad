"""Runs as TREC's six columns: query, Q0, document, rank, score, tag."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from saelex.corpus.documents import Run, best_first
from saelex.corpus.lines import read_lines
from saelex.corpus.trec.columns import column
from saelex.errors import InputError
from saelex.files import expanded, write_text

_LEAST_STEP = np.finfo(np.float32).tiny


def read_run(path: str | Path) -> Run:
    """A run in TREC's format; gzip by the name's `.gz`.

    As trec_eval does, it goes by the scores and looks neither at Q0 nor at the ranks. Raises InputError with file and
    line for a line that has not six columns, a score that is no finite number, and a second line of one query and
    document; also for a file without a line.
    """
    source = expanded(path)
    if not source.is_file():
        raise InputError(f"{source}: no such run file")
    run: Run = {}
    for number, line in read_lines(source):
        cells = line.split()
        if len(cells) != 6:
            raise InputError(f"{source}:{number}: {len(cells)} columns; a run has 6: query Q0 document rank score tag")
        query, _, document, _, score, _ = cells
        answers = run.setdefault(query, {})
        if document in answers:
            raise InputError(f"{source}:{number}: query {query!r} has the document {document!r} twice")
        answers[document] = _score(score, f"{source}:{number}")
    if not run:
        raise InputError(f"{source}: holds no results")
    return run


def write_run(path: str | Path, run: Run, *, tag: str = "saelex", depth: int | None = None) -> None:
    """Write a run for trec_eval: best first, ranks from 1, gzipped where the name ends in `.gz`.

    The order is `best_first`'s, and the written scores keep it: trec_eval reads them as 32-bit numbers and gives ties
    to the larger document id. So scores are rounded to 32 bits, and one that would tie with the document before it is
    lowered by the least step.

    depth: documents per query, the best; None writes all. A query without results leaves no line.
    Raises InputError for a score that is not finite in 32 bits, and for an id or a tag that is empty or holds blanks.
    """
    if depth is not None and depth < 1:
        raise InputError(f"a run is written to a depth of at least 1, not {depth}")
    write_text(expanded(path), _lines(run, column(tag, "the tag"), depth))


def _lines(run: Run, tag: str, depth: int | None) -> Iterator[str]:
    for query, scores in run.items():
        column(query, "the query id")
        last = np.float32(np.inf)
        for rank, (document, score) in enumerate(best_first(scores)[:depth], start=1):
            last = _below(last, score)
            if not np.isfinite(last):
                raise InputError(f"query {query!r}, document {document!r}: the score {score} is not finite in 32 bits")
            yield f"{query} Q0 {column(document, 'the document id')} {rank} {last!s} {tag}\n"


def _below(last: np.float32, score: float) -> np.float32:
    """The score in 32 bits, or what lies just below the last one where that is not lower.

    The step is never below the smallest normal number: subnormal ones are zero to some processes, and so would tie.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        rounded: np.float32 = np.float32(score)
        if rounded < last or np.isnan(rounded):
            return rounded
        lowered: np.float32 = np.float32(last - max(np.spacing(np.abs(last)), _LEAST_STEP))
        return lowered


def _score(cell: str, where: str) -> float:
    try:
        score = float(cell)
    except ValueError:
        raise InputError(f"{where}: the score {cell!r} is no number") from None
    if not math.isfinite(score):
        raise InputError(f"{where}: the score {cell} is not finite")
    return score
