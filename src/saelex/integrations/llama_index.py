"""LlamaIndex: an index as a retriever (extra `llama-index`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from saelex.index.index import Index
from saelex.installation import needs_extra
from saelex.integrations.filters import from_llama_index
from saelex.integrations.retrieval import KEY, Found, Retrieval, both

try:
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.schema import NodeRelationship, NodeWithScore, QueryBundle, RelatedNodeInfo, TextNode
except ImportError as error:
    raise needs_extra("saelex.integrations.llama_index", "llama-index-core", "llama-index") from error

if TYPE_CHECKING:
    from llama_index.core.callbacks.base import CallbackManager
    from llama_index.core.vector_stores.types import MetadataFilters


class SaelexRetriever(BaseRetriever):  # type: ignore[misc]
    """The best passages of an index as nodes with scores, best first; `retrieve` and `aretrieve`, and in query engines.

    options: those of `Index.search` beside query and k. filters: must hold beside its `where` (see
    `saelex.integrations.filters`). A node's metadata are the document's own and, under "saelex", which no prompt and no
    embedding is made of, id, title, the passage's characters and, on request, snippet with marks and explanation.
    These two depend on the query: nodes that differ in them are not merged by LlamaIndex's fusion of queries.

    Raises InputError for filters whose meaning is another in saelex, and in a search what `Index.search` does.
    """

    def __init__(
        self,
        index: Index,
        k: int = 10,
        *,
        filters: MetadataFilters | None = None,
        options: Mapping[str, Any] | None = None,
        snippet_words: int | None = None,
        explain: bool = False,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        self._k = k
        self._retrieval = Retrieval(index, both(options, from_llama_index(filters)), snippet_words, explain)
        super().__init__(callback_manager=callback_manager, verbose=verbose)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _nodes(self._retrieval.search(query_bundle.query_str, self._k))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _nodes(await self._retrieval.asearch(query_bundle.query_str, self._k))


def _nodes(found: Iterable[Found]) -> list[NodeWithScore]:
    return [
        NodeWithScore(
            node=TextNode(
                id_=hit.id,
                text=hit.text,
                metadata=metadata,
                excluded_embed_metadata_keys=[KEY],
                excluded_llm_metadata_keys=[KEY],
                start_char_idx=hit.passage.start,
                end_char_idx=hit.passage.end,
                relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=hit.id)},
            ),
            score=hit.score,
        )
        for hit, metadata in found
    ]
