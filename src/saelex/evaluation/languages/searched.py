"""Documents that every system of a plan searches: indexed and embedded once, asked with queries of any language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saelex.corpus.collection import Collection, without_own_ids
from saelex.corpus.documents import Document, Run
from saelex.encoder.dense.embedder import Embedder
from saelex.encoder.settings import Side
from saelex.evaluation.baselines import Bm25, check_products, nearest
from saelex.evaluation.encoded import FUSED_DEPTH, JudgedDocuments
from saelex.evaluation.evaluate import Plan
from saelex.evaluation.fusion import reciprocal_rank_fusion
from saelex.evaluation.searching import Searcher
from saelex.evaluation.vectors_cache import VectorsCache
from saelex.index.index import Index


@dataclass(frozen=True)
class SearchedDocuments:
    """Documents under every system of a plan but run files. Made by `opened`.

    embedded: [documents, d_model]; None, as `bm25`, where no baseline needs it.
    """

    plan: Plan
    documents: list[Document]
    indexes: list[tuple[Searcher, Index]]
    bm25: Bm25 | None
    embedder: Embedder | None
    embedded: NDArray[np.float32] | None
    cache: VectorsCache

    @classmethod
    @contextmanager
    def opened(
        cls,
        plan: Plan,
        parts: Sequence[JudgedDocuments],
        words: tuple[str, str],
        embedder: Embedder | None,
        cache: VectorsCache,
        *,
        progress: bool = False,
    ) -> Iterator[SearchedDocuments]:
        """The documents of all parts, which come in ascending order of ids.

        words: the languages whose rules cut them in BM25, and beside concepts. embedder: of the plan. Vectors and
        embeddings come from the cache or, once, are computed.
        """
        documents = [document for judged in parts for document in judged.documents]
        bm25_language, index_language = words
        bm25 = Bm25(documents, bm25_language) if {"bm25", "rrf"} & set(plan.baselines) else None
        embedded = None
        if embedder is not None:
            check_products(embedder)
            texts = ([document.content for document in judged.documents] for judged in parts)
            embedded = np.concatenate([_embedded(embedder, some, "document", cache, progress) for some in texts])
        with ExitStack() as stack:
            indexes = [
                (searcher, stack.enter_context(searcher.indexed(parts, index_language, cache, progress=progress)))
                for searcher in plan.searchers
            ]
            yield cls(plan, documents, indexes, bm25, embedder, embedded, cache)

    def answers(self, collection: Collection, language: str | None = None, *, progress: bool = False) -> dict[str, Run]:
        """What every system answers to a collection's queries, in the plan's order, at its depth.

        language: whose rules cut the queries' words for BM25; None: the documents'.
        """
        depth = self.plan.depth
        runs = self._baselines(collection, language, progress)
        for searcher, index in self.indexes:
            searched = depth + collection.ignore_own_ids
            found = searcher.asked(index, collection.queries, self.cache, depth=searched, progress=progress)
            runs |= {name: _counting(collection, run) for name, run in found.items()}
        return {name: runs[name] for name in self.plan.systems if name in runs}

    def _baselines(self, collection: Collection, language: str | None, progress: bool) -> dict[str, Run]:
        depth = max(FUSED_DEPTH, self.plan.depth) if "rrf" in self.plan.baselines else self.plan.depth
        queries = collection.queries
        texts = [query.text for query in queries]
        searched = depth + collection.ignore_own_ids
        runs: dict[str, Run] = {}
        if self.bm25 is not None:
            answered = zip(queries, self.bm25.best(texts, searched, language))
            runs["bm25"] = _counting(collection, {query.id: best for query, best in answered})
        if self.embedder is not None and self.embedded is not None:
            asked = _embedded(self.embedder, texts, "query", self.cache, progress)
            runs["dense"] = _counting(collection, nearest(asked, self.embedded, queries, self.documents, searched))
        if "rrf" in self.plan.baselines:
            runs["rrf"] = reciprocal_rank_fusion(list(runs.values()), depth=self.plan.depth)
        return {name: runs[name] for name in self.plan.baselines}


def _counting(collection: Collection, run: Run) -> Run:
    """What of a run counts; see `Collection.ignore_own_ids`."""
    return without_own_ids(run) if collection.ignore_own_ids else run


def _embedded(
    embedder: Embedder, texts: Sequence[str], side: Side, cache: VectorsCache, progress: bool
) -> NDArray[np.float32]:
    facts = [embedder.digest, side]
    return cache.embeddings(facts, texts, lambda some: embedder.embed(some, side, progress=progress))
