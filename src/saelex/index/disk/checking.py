"""Integrity: everything an index holds, compared with everything it should agree with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saelex.errors import CorruptIndexError
from saelex.index.disk.catalog import Catalog
from saelex.index.disk.segments import SegmentArrays, verify_segment
from saelex.index.disk.snapshot import Snapshot
from saelex.index.kernels.arrays import ForwardRows, Postings
from saelex.index.kernels.build import build_postings


@dataclass(frozen=True)
class CheckReport:
    """What an integrity check counted and found. problems: one line each; empty when all is well."""

    segments: int
    rows: int
    documents: int
    deleted: int
    non_zeros: int
    size: int
    """Bytes of the segments."""
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        mib = self.size / 2**20
        counts = (
            f"{self.documents} documents in {self.rows} rows, {self.segments} segments, {self.non_zeros} non-zeros, "
            f"{self.deleted} deleted documents still on disk, {mib:.1f} MiB"
        )
        return "\n".join([counts, *(f"damaged: {problem}" for problem in self.problems)])


def check_storage(catalog: Catalog, folder: Path, snapshot: Snapshot) -> CheckReport:
    """Checksums of all files, order and range of all arrays, postings against rows, segments against the catalogue."""
    problems = catalog.problems()
    for segment in snapshot.segments:
        try:
            arrays = verify_segment(folder, segment.number, segment.record)
        except (CorruptIndexError, OSError) as error:
            problems.append(str(error))
            continue  # what its arrays say means nothing
        problems += [f"segment {segment.number}: {problem}" for problem in array_problems(arrays)]
    if not problems:
        problems += _catalogue_problems(catalog, snapshot)
    return CheckReport(
        segments=len(snapshot.segments),
        rows=snapshot.n_rows,
        documents=catalog.n_documents(),
        deleted=len(snapshot.tombstones),
        non_zeros=sum(segment.n_nonzero for segment in snapshot.segments),
        size=sum(segment.size for segment in snapshot.segments),
        problems=problems,
    )


def array_problems(arrays: SegmentArrays) -> Iterator[str]:
    """What is wrong with a segment's arrays in themselves and against each other."""
    postings, forward, n_rows = arrays.postings, arrays.forward, arrays.n_rows
    if np.any(np.diff(arrays.passages) <= 0) or np.any(np.diff(arrays.documents) < 0):
        yield "its passages are out of order"
    if len(arrays.documents) != n_rows or np.any(arrays.documents > arrays.passages):
        yield "its passages and documents do not fit together"
    yield from _matrix_problems("postings", postings.indptr, postings.rows, postings.weights, n_rows)
    if forward is None:
        return
    if forward.n_rows != n_rows:
        yield f"{forward.n_rows} forward rows for {n_rows} passages"
    problems = list(
        _matrix_problems("forward rows", forward.indptr, forward.latents, forward.weights, postings.n_columns)
    )
    yield from problems
    # rows that point outside the columns must not reach the compiled code
    if not problems and not _agree(postings, forward):
        yield "postings and forward rows differ"


def _matrix_problems(
    name: str, indptr: NDArray[np.int64], inner: NDArray[np.int32], weights: NDArray[Any], size: int
) -> Iterator[str]:
    """Of a matrix stored line by line, with `inner` the other coordinate, below `size` and ascending in each line."""
    if indptr[0] != 0 or np.any(np.diff(indptr) < 0) or not indptr[-1] == len(inner) == len(weights):
        yield f"{name}: the borders are wrong"
        return
    if len(inner) and (inner.min() < 0 or inner.max() >= size):
        yield f"{name}: an entry lies outside 0..{size - 1}"
    descents = np.flatnonzero(np.diff(inner) <= 0) + 1
    if not np.isin(descents, indptr).all():
        yield f"{name}: entries are out of order"
    if len(weights) and weights.min() == 0:
        yield f"{name}: a weight is 0"


def _agree(postings: Postings, forward: ForwardRows) -> bool:
    rebuilt = build_postings(forward, postings.n_columns)
    return all(np.array_equal(left, right) for left, right in zip(rebuilt, postings))


def _catalogue_problems(catalog: Catalog, snapshot: Snapshot) -> Iterator[str]:
    if np.any(np.diff(snapshot.passages) <= 0):
        yield "segments overlap"
    n_columns = catalog.settings()["n_latents"] + catalog.n_words()
    widest = max((segment.n_columns for segment in snapshot.segments), default=0)
    if widest > n_columns:
        yield f"a segment has {widest} columns, the latents and the words in the catalogue are {n_columns}"
    expected = np.array([number for number, _ in catalog.ids()], np.int64)
    numbers, counts = np.unique(snapshot.documents, return_counts=True)
    live = ~np.isin(numbers, snapshot.tombstones)
    for number in np.setdiff1d(numbers[live], expected)[:5]:
        yield f"document {number} has rows but is not in the catalogue"
    for number in np.setdiff1d(expected, numbers[live])[:5]:
        yield f"document {number} is in the catalogue but has no rows"
    if not np.isin(snapshot.tombstones, numbers).all():
        yield "a deleted document has no rows left to hide"
    promised = dict(catalog.passage_counts())
    for number, count in zip(numbers[live].tolist(), counts[live].tolist()):
        if promised.get(number, count) != count:
            yield f"document {number} has {count} rows for {promised[number]} passages"
