"""Measuring an encoder while it is trained: a small fixed sample of development collections, searched exactly."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saelex.corpus.collection import Collection, without_own_ids
from saelex.corpus.documents import Document, Qrels, Query
from saelex.encoder.encoder import Encoder
from saelex.encoder.words.channel import LexicalChannel, LexicalSettings
from saelex.errors import InputError
from saelex.evaluation.efficiency import mean_active, qd_flops
from saelex.evaluation.exact import exact_run
from saelex.evaluation.measures import measure
from saelex.vectors import SparseRows

logger = logging.getLogger(__name__)

NDCG, NDCG_WITH_WORDS = "nDCG@10", "nDCG@10 with words"
QD_FLOPS = "QD-FLOPs"
QUERY_LATENTS, DOCUMENT_LATENTS = "active latents, query", "active latents, document"


class DevelopmentSet:
    """Samples of development collections, drawn once: calling it with an encoder measures that encoder on them.

    queries: of each collection, drawn at random; all where it has fewer.
    documents: of each collection: all that are relevant to those queries, be they more, and others drawn at random.
    words: measure with words beside the latents as well, at the scale of the encoder's settings; a text names their
        language, as in `LexicalSettings`. The words' statistics are those of the sampled documents; their vectors are
        computed here, once.

    The same arguments give the same sample, whatever the order of the collections' files. A sample's scores lie above
    those of the whole collection: they are for comparing the steps of a training run.

    Raises InputError for sizes below 1, without collections, and for one whose queries have nothing to find.
    """

    def __init__(
        self,
        collections: Sequence[Collection],
        *,
        queries: int,
        documents: int,
        seed: int = 0,
        words: bool | str = False,
    ) -> None:
        if queries < 1 or documents < 1:
            raise InputError(f"a development set has at least 1 query and 1 document, not {queries} and {documents}")
        if not collections:
            raise InputError("a development set is drawn from at least one collection")
        split_names = [f"{one.name}:{one.split}" for one in collections]
        shared = {name for name, count in Counter(split_names).items() if count > 1}
        names = [f"{one.source}:{one.split}" if name in shared else name for one, name in zip(collections, split_names)]
        lexical = (LexicalSettings() if words is True else LexicalSettings(words)) if words else None
        self.samples = [
            _Sample.draw(name, one, queries, documents, seed, lexical) for name, one in zip(names, collections)
        ]

    def __call__(self, encoder: Encoder) -> dict[str, float]:
        """Means over the collections, and nDCG@10 of each, of exact search at the Top-K of the encoder's settings.

        "nDCG@10", "QD-FLOPs", "active latents, query", "active latents, document", and "nDCG@10 NAME:SPLIT" of each
        collection; with words also "nDCG@10 with words" and "nDCG@10 with words NAME:SPLIT". QD-FLOPs and active
        latents are of the latents alone. A document longer than the encoder reads is cut there, not split.
        """
        measured = [sample.measured(encoder) for sample in self.samples]
        found = {key: float(np.mean([one[key] for one in measured])) for key in measured[0]}
        for key in (NDCG, NDCG_WITH_WORDS):
            if key in found:
                found |= {f"{key} {sample.name}": one[key] for sample, one in zip(self.samples, measured)}
        return found


@dataclass(frozen=True)
class _Sample:
    """The drawn part of one collection; documents in ascending order of ids."""

    name: str
    queries: list[Query]
    documents: list[Document]
    qrels: Qrels
    words: tuple[SparseRows, SparseRows] | None  # of queries, at scale 1, and of documents
    ignore_own_ids: bool

    @classmethod
    def draw(
        cls,
        name: str,
        collection: Collection,
        n_queries: int,
        n_documents: int,
        seed: int,
        lexical: LexicalSettings | None,
    ) -> _Sample:
        by_id = {one.id: one for one in collection.documents() if one.content}
        wanted = {
            query: {document for document, grade in grades.items() if grade > 0 and document in by_id}
            for query, grades in collection.qrels.items()
        }
        # a query without anything to find would only add a constant 0
        answerable = sorted((one for one in collection.queries if wanted[one.id]), key=lambda one: one.id)
        if not answerable:
            raise InputError(f"{collection.source}: no query of {collection.split} has a relevant document")
        generator = random.Random(seed)
        queries = generator.sample(answerable, min(n_queries, len(answerable)))
        relevant = set[str]().union(*(wanted[one.id] for one in queries))
        others = sorted(by_id.keys() - relevant)
        drawn = generator.sample(others, min(len(others), max(0, n_documents - len(relevant))))
        documents = [by_id[one] for one in sorted(relevant.union(drawn))]
        qrels = {one.id: collection.qrels[one.id] for one in queries}
        if collection.ignore_own_ids:
            logger.warning("%s: a query's own id is left out of what it finds", name)
        vectors = _words(queries, documents, lexical) if lexical else None
        return cls(name, queries, documents, qrels, vectors, collection.ignore_own_ids)

    def measured(self, encoder: Encoder) -> dict[str, float]:
        queries = encoder.encode_query([one.text for one in self.queries])
        documents = encoder.encode_document([one.content for one in self.documents])
        found = {
            NDCG: self._ndcg(queries, documents),
            QD_FLOPS: qd_flops(queries, documents),
            QUERY_LATENTS: mean_active(queries),
            DOCUMENT_LATENTS: mean_active(documents),
        }
        if self.words is not None:
            query_words = self.words[0].scale(encoder.settings.word_scale)
            found[NDCG_WITH_WORDS] = self._ndcg(queries.beside(query_words), documents.beside(self.words[1]))
        return found

    def _ndcg(self, queries: SparseRows, documents: SparseRows) -> float:
        ids: NDArray[np.str_] = np.array([one.id for one in self.documents])
        run = exact_run([one.id for one in self.queries], queries, ids, documents)
        return measure(self.qrels, without_own_ids(run) if self.ignore_own_ids else run)[NDCG]


def _words(
    queries: Sequence[Query], documents: Sequence[Document], settings: LexicalSettings
) -> tuple[SparseRows, SparseRows]:
    texts = [one.content for one in documents]
    channel = LexicalChannel(settings).fit(texts)
    return channel.query([one.text for one in queries]), channel.document(texts)
