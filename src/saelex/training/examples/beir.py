"""BEIR folders as training data: positives from the qrels, negatives from what was mined for them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from saelex.corpus.collection import Collection
from saelex.corpus.sources.beir import read_beir
from saelex.errors import InputError
from saelex.files import expanded
from saelex.progress import counted
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
    from saelex.training.examples.settings import Source


def open_beir(source: Source, passages: PassageFilter, *, progress: bool = False) -> JudgedSource:
    """A split of a BEIR folder. A query's positives are its documents of a grade above 0.

    Its negatives and all scores come from the Parquet of `saelex mine` or `saelex score` at `source.negatives`; a row
    marked relevant there is a positive too. Documents of the same content are one. Only the texts of documents that
    occur in a pair are held. Raises InputError where a file is missing or malformed, or where the Parquet names a
    document that the corpus does not have, no query of the split, or was made for several collections.
    """
    collection = read_beir(source.path, source.split)
    queries, documents, pairs = Numbering(), Numbering(), PairList()
    texts_of_queries = []
    for query in islice(collection.queries, source.max_queries):
        queries.number(query.id)
        texts_of_queries.append(query.text)
    _add_positives(collection, queries, documents, pairs)
    if source.negatives:
        _add_mined(source.negatives, source.columns, queries, documents, pairs, progress)

    texts, numbers = _read_texts(collection, documents, passages, progress)
    joined = pairs.joined()
    kept = joined._replace(passages=numbers[joined.passages])
    facts: dict[str, Any] = {"split": source.split, "passages_left_out": int((numbers < 0).sum())}
    if source.negatives:
        known = fingerprint(parquet_files(source.negatives)) | recorded_facts(source.negatives)
        facts["negatives"] = {"name": Path(source.negatives).name, **known}
    files = [file for name in ("corpus", "queries") for file in expanded(source.path).glob(f"{name}.jsonl*")]
    files += expanded(source.path).glob(f"qrels/{source.split}.tsv*")
    facts |= fingerprint(files)
    return JudgedSource(texts_of_queries, texts, kept, facts, needs_scores=passages.needs_scores)


def _add_positives(collection: Collection, queries: Numbering, documents: Numbering, pairs: PairList) -> None:
    judged = [
        (number, documents.number(document))
        for query, number in queries.numbers.items()
        for document, grade in collection.qrels[query].items()
        if grade > 0
    ]
    rows = np.asarray(judged, dtype=np.int64).reshape(-1, 2)
    pairs.add(rows[:, 0], rows[:, 1], np.ones(len(rows), np.bool_), np.full(len(rows), np.nan, np.float32))


def _add_mined(
    path: str, columns: Mapping[str, str], queries: Numbering, documents: Numbering, pairs: PairList, progress: bool
) -> None:
    found = 0
    for rows in read_rows(path, columns, progress=progress):
        ours = queries.of_column(rows["query_id"], new=False)
        mask = ours >= 0
        mined = documents.of_column(rows["document_id"].filter(mask))
        relevant = rows["relevant"].to_numpy(zero_copy_only=False).astype(np.bool_)
        scores = rows["score"].to_numpy(zero_copy_only=False).astype(np.float32)
        pairs.add(ours[mask], mined, relevant[mask], scores[mask])
        found += int(mask.sum())
    if not found:
        raise InputError(f"{path}: names no query of this split; mine negatives for the same folder and split")


def _read_texts(
    collection: Collection, documents: Numbering, passages: PassageFilter, progress: bool
) -> tuple[PackedTexts, NDArray[np.int64]]:
    """Texts of the documents, equal ones once, and each document's number among them [documents]; -1: left out."""
    texts, known = PackedTexts(), dict[bytes, int]()
    numbers = np.full(len(documents), -2, dtype=np.int64)
    for document in counted(collection.documents(), desc=collection.name, unit="passage", shown=progress):
        place = documents.numbers.get(document.id)
        if place is None:
            continue
        content = document.content
        key = text_digest(content)
        if passages.bans_document(document):
            numbers[place] = -1
        elif key in known:
            numbers[place] = known[key]
        else:
            numbers[place] = known[key] = texts.append(content)
    if missing := [name for name, place in documents.numbers.items() if numbers[place] == -2]:
        raise InputError(
            f"{collection.source}: {len(missing)} passages of the qrels or the negatives are not in the corpus, "
            f"{missing[0]!r} among them; mine negatives from this corpus"
        )
    return texts, numbers
