"""The encoder on test collections: through a real index, with and without words, beside the baselines."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from saelex.corpus.collection import Collection
from saelex.corpus.documents import Document, Run
from saelex.encoder.encoder import Encoder
from saelex.errors import InputError
from saelex.evaluation.baselines import SentenceEmbedder, bm25_run, dense_run
from saelex.evaluation.measures import DEPTH, mean, measure
from saelex.index.index import Index
from saelex.vectors import SparseRows

CONCEPTS, WITH_WORDS = "concepts", "concepts+words"
BASELINES = ("bm25", "dense")
_BATCH = 256  # queries searched together, between two steps of the progress bar


@dataclass(frozen=True)
class Row:
    """One system on one split of one collection; "mean" as the collection is the mean over all of them.

    query_latents, document_latents: active columns of a mean query and of a mean passage; None for the baselines.
    top_k: latents kept per query and document, as in "40/400".
    """

    collection: str
    split: str
    system: str
    measures: dict[str, float]
    queries: int
    documents: int
    top_k: str = ""
    query_latents: float | None = None
    document_latents: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "set": self.collection,
            "split": self.split,
            "system": self.system,
            **self.measures,
            "queries": self.queries,
            "documents": self.documents,
            "top_k": self.top_k,
            "query_latents": self.query_latents,
            "document_latents": self.document_latents,
        }


class SystemRun(NamedTuple):
    """A run with the mean numbers of active columns behind it."""

    run: Run
    query_latents: float
    document_latents: float


def evaluate_collections(
    collections: Iterable[Collection], encoder: Encoder, *, against: Sequence[str] = (), progress: bool = False
) -> Iterator[Row]:
    """Rows for every collection: the baselines named in `against`, then concepts alone, then concepts and words.

    The Top-K is that of the encoder's settings. Raises InputError for an unknown baseline.
    """
    for name in against:
        if name not in BASELINES:
            raise InputError(f"unknown baseline {name!r}; choose one of {', '.join(BASELINES)}")
    embedder = SentenceEmbedder.load(encoder.backbone.model_id) if "dense" in against else None
    kept = "/".join(str(k or "all") for k in (encoder.settings.query_top_k, encoder.settings.document_top_k))
    for collection in collections:
        # an empty document can be found by no system; the index would refuse it
        documents = sorted((one for one in collection.documents() if one.content), key=lambda one: one.id)
        sizes = len(collection.queries), len(documents)

        def row(system: str, run: Run, *latents: float, top_k: str = "", of: Collection = collection) -> Row:
            measures = measure(of.qrels, run)
            return Row(of.name, of.split, system, measures, *sizes, top_k, *latents)  # noqa: B023

        if "bm25" in against:
            yield row("bm25", bm25_run(documents, collection.queries))
        if embedder is not None:
            yield row("dense", dense_run(embedder, documents, collection.queries, progress=progress))
        for system, found in index_runs(collection, documents, encoder, progress=progress).items():
            yield row(system, found.run, found.query_latents, found.document_latents, top_k=kept)


def index_runs(
    collection: Collection, documents: Sequence[Document], encoder: Encoder, *, progress: bool = False
) -> dict[str, SystemRun]:
    """Runs of the two systems, from one index in a temporary folder: the query alone decides whether words count.

    documents: in ascending order of ids, so that the index's rule for ties (first added, first found) is that of
    `measures.untied` down to the last rank.
    """
    texts = [query.text for query in collection.queries]
    with (
        tempfile.TemporaryDirectory(prefix="saelex-evaluate-") as scratch,
        Index.create(Path(scratch) / "index", encoder) as index,
    ):
        index.add(documents, progress=progress)
        of_query = _mean_columns([index.query_vectors(texts)], encoder.n_latents)
        of_document = _mean_columns((chunk.rows for chunk in index.stored()), encoder.n_latents)
        return {
            CONCEPTS: SystemRun(_run(index, collection, False, progress), of_query[0], of_document[0]),
            WITH_WORDS: SystemRun(_run(index, collection, True, progress), of_query[1], of_document[1]),
        }


def _run(index: Index, collection: Collection, words: bool, progress: bool) -> Run:
    run: Run = {}
    queries = collection.queries
    name = WITH_WORDS if words else CONCEPTS
    with tqdm(total=len(queries), desc=name, unit="query", disable=not progress, leave=False) as bar:
        for start in range(0, len(queries), _BATCH):
            batch = queries[start : start + _BATCH]
            found = index.search_batch([query.text for query in batch], DEPTH, words=words)
            run |= {query.id: {hit.id: hit.score for hit in hits} for query, hits in zip(batch, found)}
            bar.update(len(batch))
    return run


def _mean_columns(chunks: Iterable[SparseRows], n_latents: int) -> tuple[float, float]:
    """Mean active latents of a row, and mean active columns, words included."""
    n_rows = latents = columns = 0
    for rows in chunks:
        n_rows += len(rows)
        columns += rows.n_nonzero
        latents += int((rows.latents < n_latents).sum())
    return latents / n_rows, columns / n_rows


def mean_rows(rows: Sequence[Row]) -> list[Row]:
    """The mean over the collections for every system, in the systems' order."""
    systems = list(dict.fromkeys(row.system for row in rows))
    means = []
    for system in systems:
        of_system = [row for row in rows if row.system == system]
        queries, documents = sum(row.queries for row in of_system), sum(row.documents for row in of_system)
        measures = mean(row.measures for row in of_system)
        means.append(Row("mean", "", system, measures, queries, documents, of_system[0].top_k))
    return means
