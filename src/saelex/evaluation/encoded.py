"""Systems side by side on one collection: an encoder at any Top-K and scale of words, and the baselines.

What `evaluate` measures through a real index is measured here by exact products of vectors that are encoded once and
kept: other Top-K and scales of words need no new encoding, and a second run reads all from the cache.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.corpus.collection import Collection, without_own_ids
from saelex.corpus.documents import Document, Run
from saelex.encoder.dense.embedder import Embedder
from saelex.encoder.encoder import Encoder
from saelex.encoder.words.channel import LexicalChannel, LexicalSettings
from saelex.encoder.words.languages import DEFAULT_LANGUAGE, check_language
from saelex.errors import InputError
from saelex.evaluation.baselines import bm25_facts, bm25_run, dense_run
from saelex.evaluation.efficiency import mean_active, qd_flops
from saelex.evaluation.exact import exact_run
from saelex.evaluation.fusion import RRF_K, reciprocal_rank_fusion
from saelex.evaluation.measures import DEPTH, measure, untied
from saelex.evaluation.vectors_cache import VectorsCache
from saelex.index.passages import Passage, passage_splitter
from saelex.index.word_state import WordTotals
from saelex.top_k import TopKSetting
from saelex.vectors import SparseRows

logger = logging.getLogger(__name__)

BM25, DENSE, FUSION = "BM25", "dense", "BM25 + dense (RRF)"
FUSED_DEPTH = 1000
"""How many documents of each run the fusion reads."""

TopK = tuple[TopKSetting, TopKSetting]
"""Latents kept of a query and of a passage."""


class Measured(NamedTuple):
    """One system on one collection.

    query_active, document_active: active columns, words included, of a mean query and a mean passage; qd_flops: how
    many columns of the two a random pair shares. None where the system has no sparse vectors of ours.
    """

    measures: dict[str, float]
    query_active: float | None = None
    document_active: float | None = None
    qd_flops: float | None = None


@dataclass(frozen=True)
class JudgedDocuments:
    """A collection with its documents in memory, in ascending order of ids; empty ones, which nothing finds, left out.

    Passages and word statistics are the index's: a long document is searched by passage.

    language: of words, whether BM25's or those beside latents: as in `LexicalSettings`.
    """

    collection: Collection
    documents: list[Document]
    language: str = DEFAULT_LANGUAGE

    @classmethod
    def read(cls, collection: Collection, language: str = DEFAULT_LANGUAGE) -> JudgedDocuments:
        """Raises InputError for a malformed corpus, for one without any of the relevant documents, and for an unknown
        language.

        Relevant documents that are not there or are empty count as missed, whatever a system does; a warning says how
        many they are.
        """
        check_language(language)
        relevant = {name for grades in collection.qrels.values() for name, grade in grades.items() if grade > 0}
        missing = set(relevant)
        empty = set[str]()
        documents: list[Document] = []
        for one in collection.documents():
            missing.discard(one.id)
            if one.content:
                documents.append(one)
            elif one.id in relevant:
                empty.add(one.id)
        if documents and relevant and missing == relevant:
            raise InputError(
                f"{collection.label}: none of the {len(relevant)} relevant documents is in the corpus, not even "
                f"{min(missing)!r}; its ids are not those of the qrels"
            )
        for lacking, what in ((missing, "not in the corpus"), (empty, "empty, and so never found")):
            if lacking:
                counts = len(lacking), len(relevant)
                logger.warning("%s: %d of %d relevant documents are %s", collection.label, *counts, what)
        if collection.ignore_own_ids:
            own = {one.id for one in documents}.intersection(collection.qrels)
            if own:
                logger.warning(
                    "%s: %d of %d queries are documents too; a query's own id is left out of what it finds",
                    *(collection.label, len(own), len(collection.queries)),
                )
        return cls(collection, sorted(documents, key=lambda one: one.id), language)

    def searched(self, depth: int) -> int:
        """How many documents are searched for where `depth` are to stay in `answers`."""
        return depth + self.collection.ignore_own_ids

    @property
    def exceptions(self) -> list[str]:
        """What else than texts and settings decides which documents count, in the facts that a cache goes by."""
        return ["own ids ignored"] if self.collection.ignore_own_ids else []

    def answers(self, run: Run) -> Run:
        """What of a run counts: all of it, or all but the queries' own documents (`Collection.ignore_own_ids`)."""
        return without_own_ids(run) if self.collection.ignore_own_ids else run

    @cached_property
    def ids(self) -> NDArray[np.str_]:
        return np.array([one.id for one in self.documents], dtype=np.str_)

    @cached_property
    def questions(self) -> list[str]:
        return [one.text for one in self.collection.queries]

    def all_texts(self) -> Iterator[str]:
        """Ids and texts of queries and documents: all that decides what a baseline answers."""
        yield from chain.from_iterable((one.id, one.text) for one in self.collection.queries)
        yield from chain.from_iterable((one.id, one.content) for one in self.documents)

    def borders(self, encoder: Encoder) -> list[list[Passage]]:
        """Each document's passages, as an index of this encoder splits them."""
        split = passage_splitter(encoder, None, None)
        return [split(one.content) for one in self.documents]

    def passages(self, borders: Sequence[Sequence[Passage]]) -> list[str]:
        """The texts of these passages, one document's after the other's."""
        contents = (one.content for one in self.documents)
        return [content[start:end] for content, parts in zip(contents, borders) for start, end in parts]


@dataclass(frozen=True)
class EncodedCollection:
    """A collection as one encoder sees it: whole vectors, before any Top-K, and words at scale 1 in rows of their own.

    first_passages: [documents], the row of `passages` with which each document begins.
    """

    judged: JudgedDocuments
    first_passages: NDArray[np.int64]
    queries: SparseRows
    passages: SparseRows
    query_words: SparseRows
    passage_words: SparseRows

    @classmethod
    def encode(
        cls, encoder: Encoder, judged: JudgedDocuments, cache: VectorsCache, *, progress: bool = False
    ) -> EncodedCollection:
        """Vectors from the cache or, once, from the encoder; a model's weighting is in them."""
        borders = judged.borders(encoder)
        passages = judged.passages(borders)
        channel = LexicalChannel(LexicalSettings(judged.language))
        channel.shares = channel.languages(passages)
        counts = channel.count(passages, grow=True)
        asked = channel.count(judged.questions, grow=False)
        frequencies = np.bincount(counts.latents, minlength=len(channel))[asked.latents]
        return cls(
            judged,
            np.cumsum([0, *map(len, borders[:-1])], dtype=np.int64),
            cache.rows(encoder, judged.questions, "query", progress=progress),
            cache.rows(encoder, passages, "document", progress=progress),
            channel.weigh_queries(asked, frequencies, len(passages)),
            channel.weigh_documents(counts, WordTotals.of(counts, channel.shares).mean_length),
        )

    def vectors(self, top_k: TopK, word_scale: float | None = None) -> tuple[SparseRows, SparseRows]:
        """Queries and passages at this Top-K, words after the latents; word_scale None is concepts alone."""
        queries, passages = self.queries.top_k(top_k[0]), self.passages.top_k(top_k[1])
        if word_scale is None:
            return queries, passages
        return queries.beside(self.query_words.scale(word_scale)), passages.beside(self.passage_words)

    def run(self, queries: SparseRows, passages: SparseRows) -> Run:
        """What exact search finds with `vectors`."""
        names = [one.id for one in self.judged.collection.queries]
        depth = self.judged.searched(DEPTH)
        return self.judged.answers(exact_run(names, queries, self.judged.ids, passages, self.first_passages, depth))

    def measured(self, top_k: TopK, word_scale: float | None = None) -> Measured:
        """Exact search at this Top-K; word_scale None is concepts alone."""
        queries, passages = self.vectors(top_k, word_scale)
        return Measured(
            measure(self.judged.collection.qrels, self.run(queries, passages)),
            mean_active(queries),
            mean_active(passages),
            qd_flops(queries, passages),
        )


def baseline_runs(
    judged: JudgedDocuments,
    embedder: Embedder,
    cache: VectorsCache,
    *,
    depth: int = DEPTH,
    progress: bool = False,
) -> dict[str, Run]:
    """BM25, the dense embedding, and their reciprocal rank fusion (of the first 1,000 documents of each), untied."""
    queries, documents = judged.collection.queries, judged.documents
    fused_depth = max(FUSED_DEPTH, depth)

    def compute() -> dict[str, Run]:
        deep = [
            judged.answers(bm25_run(documents, queries, judged.searched(fused_depth), judged.language)),
            judged.answers(dense_run(embedder, documents, queries, judged.searched(fused_depth), progress=progress)),
        ]
        # order, not scores, is all that the measures read
        return {
            BM25: untied(deep[0], depth),
            DENSE: untied(deep[1], depth),
            FUSION: reciprocal_rank_fusion(deep, depth=depth),
        }

    facts = [
        [BM25, DENSE, FUSION],
        [bm25_facts(judged.language), RRF_K, fused_depth, depth, *judged.exceptions],
        [embedder.digest],
        [len(queries), len(documents)],
    ]
    return cache.runs(facts, judged.all_texts(), compute)


def bm25_alone(judged: JudgedDocuments, cache: VectorsCache, *, depth: int = DEPTH) -> Run:
    """BM25 where nothing else is wanted: no dense model is needed for it."""
    queries, documents = judged.collection.queries, judged.documents
    facts = [[BM25], [bm25_facts(judged.language), depth, *judged.exceptions], [len(queries), len(documents)]]

    def compute() -> dict[str, Run]:
        run = bm25_run(documents, queries, judged.searched(depth), judged.language)
        return {BM25: untied(judged.answers(run), depth)}

    return cache.runs(facts, judged.all_texts(), compute)[BM25]


def baseline_measures(
    judged: JudgedDocuments, embedder: Embedder, cache: VectorsCache, *, progress: bool = False
) -> dict[str, Measured]:
    """BM25, the dense embedding, and their reciprocal rank fusion (of the first 1,000 documents of each)."""
    runs = baseline_runs(judged, embedder, cache, progress=progress)
    return {name: Measured(measure(judged.collection.qrels, run)) for name, run in runs.items()}


def mean_measured(rows: Sequence[Measured]) -> Measured:
    """The unweighted mean over collections."""
    names = rows[0].measures
    return Measured(
        {name: float(np.mean([row.measures[name] for row in rows])) for name in names},
        _mean([row.query_active for row in rows]),
        _mean([row.document_active for row in rows]),
        _mean([row.qd_flops for row in rows]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
