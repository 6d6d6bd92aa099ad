"""Haystack 2 and later: sparse embedders for queries and documents, and an index as a retriever (extra `haystack`)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

from saelex.errors import InputError
from saelex.index.index import Index
from saelex.index.request import check_query
from saelex.index.text_encoder import TextEncoder
from saelex.installation import needs_extra
from saelex.integrations.filters import from_haystack
from saelex.integrations.retrieval import Found, Retrieval, both
from saelex.integrations.sparse import DEFAULT_ENCODER, LazyEncoder, as_lists

try:
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.dataclasses import SparseEmbedding
except ImportError as error:
    raise needs_extra("saelex.integrations.haystack", "haystack-ai", "haystack") from error


@component
class SaelexSparseTextEmbedder:
    """The vector of a query: `run(text=...)` gives `sparse_embedding`, for retrievers of sparse vectors.

    Concepts alone: the words beside them have weights that an index counts. encoder: the name that `Encoder.load`
    takes, or an encoder, which a saved pipeline names.
    """

    def __init__(self, encoder: TextEncoder | str = DEFAULT_ENCODER) -> None:
        self._encoder = LazyEncoder(encoder)

    def warm_up(self) -> None:
        """Load the encoder. Raises what `Encoder.load` does."""
        self._encoder.get()

    def to_dict(self) -> dict[str, Any]:
        """For a saved pipeline."""
        return default_to_dict(self, encoder=self._encoder.name)  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SaelexSparseTextEmbedder:
        """From a saved pipeline."""
        return default_from_dict(cls, data)  # type: ignore[no-any-return]

    @component.output_types(sparse_embedding=SparseEmbedding)
    def run(self, text: str) -> dict[str, SparseEmbedding]:
        """Raises InputError for a query without a word."""
        check_query(text)
        [(latents, weights)] = as_lists(self._encoder.get().encode_query([text]))
        return {"sparse_embedding": SparseEmbedding(latents, weights)}

    @component.output_types(sparse_embedding=SparseEmbedding)
    async def run_async(self, text: str) -> dict[str, SparseEmbedding]:
        """`run` in a thread."""
        return await asyncio.to_thread(self.run, text)


@component
class SaelexSparseDocumentEmbedder:
    """Vectors of documents: `run(documents=...)` gives them back with `sparse_embedding`, for any store that keeps it.

    encoder: as in `SaelexSparseTextEmbedder`. meta_fields_to_embed: such as a title; they stand before the content,
    with embedding_separator between them.
    """

    def __init__(
        self,
        encoder: TextEncoder | str = DEFAULT_ENCODER,
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
    ) -> None:
        self._encoder = LazyEncoder(encoder)
        self.meta_fields_to_embed = meta_fields_to_embed or []
        self.embedding_separator = embedding_separator

    def warm_up(self) -> None:
        """Load the encoder. Raises what `Encoder.load` does."""
        self._encoder.get()

    def to_dict(self) -> dict[str, Any]:
        """For a saved pipeline."""
        fields = {"meta_fields_to_embed": self.meta_fields_to_embed, "embedding_separator": self.embedding_separator}
        return default_to_dict(self, encoder=self._encoder.name, **fields)  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SaelexSparseDocumentEmbedder:
        """From a saved pipeline."""
        return default_from_dict(cls, data)  # type: ignore[no-any-return]

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, list[Document]]:
        """Raises InputError for a document without content."""
        vectors = as_lists(self._encoder.get().encode_document(self._texts(documents)))
        pairs = zip(documents, vectors)
        return {"documents": [replace(document, sparse_embedding=SparseEmbedding(*pair)) for document, pair in pairs]}

    @component.output_types(documents=list[Document])
    async def run_async(self, documents: list[Document]) -> dict[str, list[Document]]:
        """`run` in a thread."""
        return await asyncio.to_thread(self.run, documents)

    def _texts(self, documents: Sequence[Document]) -> list[str]:
        texts = []
        for document in documents:
            if document.content is None:
                raise InputError(f"document {document.id!r} has no content to encode; leave it out")
            values = [document.meta.get(name) for name in self.meta_fields_to_embed]
            parts = [*(str(value) for value in values if value is not None), document.content]
            texts.append(self.embedding_separator.join(parts))
        return texts


@component
class SaelexRetriever:
    """The best passages of an index as Haystack's documents, best first: `run(query=...)` gives `documents`.

    index: its path, opened by `warm_up` or when it is first needed; or an index, whose path a saved pipeline has.
    filters: Haystack's (see `saelex.integrations.filters`); those of a run take their place. options: those of
    `Index.search` beside query and k; its `where` holds beside any filters.

    A document's meta are its own and, under "saelex", id, title, the passage's characters and, on request, snippet with
    marks and explanation. Raises InputError for filters whose meaning is another in saelex, and what `Index.search`
    and `Index.open` do.
    """

    def __init__(
        self,
        index: Index | str | Path,
        top_k: int = 10,
        filters: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
        snippet_words: int | None = None,
        explain: bool = False,
    ) -> None:
        self.index = index
        self.top_k = top_k
        self.filters = filters
        self.options = options
        self.snippet_words = snippet_words
        self.explain = explain
        self._opening = Lock()

    def warm_up(self) -> None:
        """Open the index, and load its encoder."""
        _ = self._opened().encoder

    def _opened(self) -> Index:
        with self._opening:
            if not isinstance(self.index, Index):
                self.index = Index.open(self.index)
            return self.index

    def to_dict(self) -> dict[str, Any]:
        """For a saved pipeline."""
        return default_to_dict(  # type: ignore[no-any-return]
            self,
            index=str(self.index.path if isinstance(self.index, Index) else self.index),
            top_k=self.top_k,
            filters=self.filters,
            options=self.options,
            snippet_words=self.snippet_words,
            explain=self.explain,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SaelexRetriever:
        """From a saved pipeline."""
        return default_from_dict(cls, data)  # type: ignore[no-any-return]

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """Search. filters, top_k: of this run."""
        found = self._retrieval(filters).search(query, self.top_k if top_k is None else top_k)
        return {"documents": _documents(found)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """`run`, while the event loop goes on."""
        retrieval = await asyncio.to_thread(self._retrieval, filters)  # it may have an index to open
        found = await retrieval.asearch(query, self.top_k if top_k is None else top_k)
        return {"documents": _documents(found)}

    def _retrieval(self, filters: dict[str, Any] | None) -> Retrieval:
        where = from_haystack(self.filters if filters is None else filters)
        return Retrieval(self._opened(), both(self.options, where), self.snippet_words, self.explain)


def _documents(found: Iterable[Found]) -> list[Document]:
    return [Document(id=hit.id, content=hit.text, meta=metadata, score=hit.score) for hit, metadata in found]
