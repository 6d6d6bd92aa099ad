"""Mined and scored pairs that carry their texts: one file or folder that can be shared and trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from saelex.training.examples.facts import fingerprint
from saelex.training.examples.filtering import PassageFilter
from saelex.training.examples.judged import (
    JudgedSource,
    Numbering,
    PackedTexts,
    PairList,
    parquet_files,
    read_rows,
    recorded_facts,
)
from saelex.training.text_reading import text_digest

if TYPE_CHECKING:
    import pyarrow as pa

    from saelex.training.examples.settings import Source


def open_parquet(source: Source, passages: PassageFilter, *, progress: bool = False) -> JudgedSource:
    """Parquet of `saelex score --with-text`: columns query_id, document_id, relevant, score, query and text.

    Rows of one pair, from several miners, are one; so are passages of the same text. Raises InputError naming the
    file where a column is missing.
    """
    queries, pairs = Numbering(), PairList()
    texts_of_queries: list[str] = []
    texts, known = PackedTexts(), dict[bytes, int]()
    for rows in read_rows(source.path, source.columns, texts=True, progress=progress):
        numbers = queries.of_column(rows["query_id"])
        _keep_new_queries(texts_of_queries, numbers, rows["query"])
        pairs.add(
            numbers,
            _numbers_of_texts(rows["text"], passages, texts, known),
            rows["relevant"].to_numpy(zero_copy_only=False).astype(np.bool_),
            rows["score"].to_numpy(zero_copy_only=False).astype(np.float32),
        )
    joined = pairs.joined()
    facts: dict[str, Any] = {
        "rows_left_out": int((joined.passages < 0).sum()),
        **fingerprint(parquet_files(source.path)),
    }
    facts |= recorded_facts(source.path)
    needs_scores, limit = passages.needs_scores, source.max_queries
    return JudgedSource(texts_of_queries, texts, joined, facts, needs_scores=needs_scores, max_queries=limit)


def _keep_new_queries(known: list[str], numbers: NDArray[np.int64], column: pa.Array) -> None:
    """Append the text of every query whose number is not known yet; numbers are given in order of appearance."""
    seen, rows = np.unique(numbers, return_index=True)
    known.extend(column[int(row)].as_py() for number, row in zip(seen, rows, strict=True) if number >= len(known))


def _numbers_of_texts(
    column: pa.Array, passages: PassageFilter, texts: PackedTexts, known: dict[bytes, int]
) -> NDArray[np.int64]:
    """Number of each row's text [rows]; -1: left out."""
    encoded = column.dictionary_encode()
    numbers = []
    for text in encoded.dictionary.to_pylist():
        key = text_digest(text)
        if key not in known:
            known[key] = -1 if passages.bans(text) else texts.append(text)
        numbers.append(known[key])
    rows: NDArray[np.int64] = encoded.indices.to_numpy(zero_copy_only=False)
    return np.asarray(numbers, dtype=np.int64)[rows]
