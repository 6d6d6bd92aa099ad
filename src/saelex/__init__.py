"""saelex: learned sparse retrieval whose vocabulary is the latents of a sparse autoencoder.

The public names are imported on first use, so that `import saelex` costs no more than this file.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saelex.corpus.documents import Document, Query
    from saelex.corpus.reading import read_corpus, read_qrels, read_queries
    from saelex.encoder.encoder import Encoder
    from saelex.engines.engine import Engine
    from saelex.errors import SaelexError
    from saelex.index.index import Index
    from saelex.index.inverted import InvertedIndex
    from saelex.sae.autoencoder import SparseAutoencoder
    from saelex.vectors import SparseRows

__version__ = "0.1.0"

_HOMES = {
    "Document": "saelex.corpus.documents",
    "Encoder": "saelex.encoder.encoder",
    "Engine": "saelex.engines.engine",
    "Index": "saelex.index.index",
    "InvertedIndex": "saelex.index.inverted",
    "Query": "saelex.corpus.documents",
    "SaelexError": "saelex.errors",
    "SparseAutoencoder": "saelex.sae.autoencoder",
    "SparseRows": "saelex.vectors",
    "read_corpus": "saelex.corpus.reading",
    "read_qrels": "saelex.corpus.reading",
    "read_queries": "saelex.corpus.reading",
}

__all__ = [
    "Document",
    "Encoder",
    "Engine",
    "Index",
    "InvertedIndex",
    "Query",
    "SaelexError",
    "SparseAutoencoder",
    "SparseRows",
    "__version__",
    "read_corpus",
    "read_qrels",
    "read_queries",
]


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'saelex' has no attribute {name!r}") from None
    from saelex.installation import naming_extras

    with naming_extras():
        return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return __all__
