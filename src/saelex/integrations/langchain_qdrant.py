"""langchain-qdrant: our vectors in Qdrant, alone or beside dense ones (extra `langchain-qdrant`)."""

from __future__ import annotations

from saelex.index.request import check_query
from saelex.index.text_encoder import TextEncoder
from saelex.installation import needs_extra
from saelex.integrations.sparse import DEFAULT_ENCODER, LazyEncoder, as_lists
from saelex.vectors import SparseRows

try:
    from langchain_qdrant.sparse_embeddings import SparseEmbeddings, SparseVector
except ImportError as error:
    raise needs_extra("saelex.integrations.langchain_qdrant", "langchain-qdrant", "langchain-qdrant") from error


class SaelexSparseEmbeddings(SparseEmbeddings):  # type: ignore[misc]
    """Latents and weights of documents and queries, for `QdrantVectorStore(sparse_embedding=...)`.

    Concepts alone: the words beside them have weights that an index counts. encoder: one that is there, or the name
    that `Encoder.load` takes; raises what that does. The coroutines are these calls in a thread.
    """

    def __init__(self, encoder: TextEncoder | str = DEFAULT_ENCODER) -> None:
        self.encoder = LazyEncoder(encoder).get()

    def embed_documents(self, texts: list[str]) -> list[SparseVector]:
        """One vector a text."""
        return _vectors(self.encoder.encode_document(texts))

    def embed_query(self, text: str) -> SparseVector:
        """The vector of a query. Raises InputError for one without a word."""
        check_query(text)
        return _vectors(self.encoder.encode_query([text]))[0]


def _vectors(rows: SparseRows) -> list[SparseVector]:
    return [SparseVector(indices=latents, values=weights) for latents, weights in as_lists(rows)]
