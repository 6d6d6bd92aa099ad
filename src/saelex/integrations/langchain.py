"""LangChain: an index as a retriever (extra `langchain`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from saelex.index.index import Index
from saelex.installation import needs_extra
from saelex.integrations.retrieval import KEY, Found, Retrieval

try:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from pydantic import Field
except ImportError as error:
    raise needs_extra("saelex.integrations.langchain", "langchain-core", "langchain") from error


class SaelexRetriever(BaseRetriever):  # type: ignore[misc]
    """The best passages of an index as LangChain's documents, best first; `invoke`, `ainvoke`, `batch` and in chains.

    Their metadata are the document's own and, under "saelex", id, title, rank, score, the passage's characters and, on
    request, snippet with marks and explanation. A call may have other settings: `retriever.invoke(query, k=3,
    where={"lang": "en"})`. Raises what `Index.search` does.
    """

    index: Index
    k: int = 10
    options: dict[str, Any] = Field(default_factory=dict)
    """Of `Index.search`: `where`, `boost`, `ban`, `add`, `mode`, `words`, `language`."""
    snippet_words: int | None = None
    explain: bool = False

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None, **options: Any
    ) -> list[Document]:
        return _documents(self._retrieval(options).search(query, self.k if k is None else k))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None, **options: Any
    ) -> list[Document]:
        return _documents(await self._retrieval(options).asearch(query, self.k if k is None else k))

    def _retrieval(self, options: dict[str, Any]) -> Retrieval:
        return Retrieval(self.index, {**self.options, **options}, self.snippet_words, self.explain)


def _documents(found: Iterable[Found]) -> list[Document]:
    documents = []
    for hit, metadata in found:
        told = {**metadata[KEY], "rank": hit.rank, "score": hit.score}
        documents.append(Document(page_content=hit.text, metadata={**metadata, KEY: told}, id=hit.id))
    return documents
