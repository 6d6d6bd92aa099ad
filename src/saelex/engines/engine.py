"""Engine: an index that was pushed to a search engine, searched there with the same options, hits and reasons."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

from saelex.concepts.steering import resolver
from saelex.engines.contents import Contents
from saelex.engines.facets import tests_of
from saelex.engines.registry import store_class
from saelex.engines.search import EngineSearch, EngineWords
from saelex.engines.store import Store
from saelex.engines.url import EngineUrl
from saelex.errors import InputError, MismatchError
from saelex.index.request import Request, check_queries, check_query, searched_queries
from saelex.vectors import SparseRows

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from saelex.concepts.store import ConceptStore
    from saelex.index.hits import Hit
    from saelex.index.request import SearchOptions
    from saelex.index.text_encoder import TextEncoder


class Engine:
    """An open collection of a search engine. Searching is safe from several threads.

    What it holds is what `saelex push` last put there: documents, vectors, words with their statistics, and labels.
    """

    def __init__(self, store: Store, encoder: TextEncoder | None = None) -> None:
        self.store = store
        self._lock = Lock()
        self._encoder: TextEncoder | None = None
        self.contents = Contents.read(store)
        words = self.contents.words
        self._words = None if words is None else EngineWords(words)
        if words is not None and len(words):
            words.word(0)  # reads the words in order, once, before there are several threads
        if encoder is not None:
            self._take(encoder)

    @classmethod
    def open(cls, url: str, encoder: TextEncoder | None = None) -> Engine:
        """The collection at a URL (see `saelex.engines.url`). encoder: None loads the one that made it, if need be.

        Raises InputError for a URL that means nothing and for a collection that is not there, SaelexError for an engine
        that does not answer, MismatchError for another encoder.
        """
        parsed = EngineUrl.parse(url)
        store = store_class(parsed).open(parsed)
        try:
            return cls(store, encoder)
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        """Let go of the connection."""
        if concepts := self.__dict__.get("concepts"):  # read already
            concepts.close()
        self.store.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Number of documents."""
        return self.contents.documents

    def __repr__(self) -> str:
        return f"Engine({str(self.store.url)!r}, {len(self):,} documents)"

    @property
    def n_latents(self) -> int:
        """Latents of its vectors, words not counted."""
        return int(self.contents.settings["n_latents"])

    @property
    def encoder(self) -> TextEncoder:
        """The encoder that made its vectors. Raises MismatchError when what its name loads today gives other ones."""
        with self._lock:
            if self._encoder is None:
                from saelex.encoder.encoder import Encoder

                self._take(Encoder.load(self.contents.settings["encoder"]))
        assert self._encoder is not None
        return self._encoder

    def _take(self, encoder: TextEncoder) -> None:
        settings = self.contents.settings
        if encoder.fingerprint != settings["fingerprint"]:
            raise MismatchError(
                f"{self.store.url}: made with the encoder {settings['encoder']!r} ({settings['fingerprint'][:12]}), "
                f"not with {encoder.name!r} ({encoder.fingerprint[:12]}); open it with that one"
            )
        self._encoder = encoder

    @cached_property
    def concepts(self) -> ConceptStore | None:
        """What its latents mean, if the index that was pushed had labels."""
        return self.contents.concepts(self.store)

    def search(self, query: str, k: int = 10, **options: Unpack[SearchOptions]) -> list[Hit]:
        """The k best documents for a query, best first; options as in `Index.search`, but for `mode`.

        Raises InputError as that does, and for a filter that the engine cannot answer.
        """
        check_query(query)
        return self.search_batch([query], k, **options)[0]

    def search_batch(self, queries: Sequence[str], k: int = 10, **options: Unpack[SearchOptions]) -> list[list[Hit]]:
        """The hits of many queries, one after the other; options as in `search`."""
        texts = searched_queries(queries)
        asked = self._asking(k, options)
        rows = self.encoder.encode_query(texts) if texts else SparseRows.empty(self.n_latents)
        return self._search(rows, texts, asked)

    def search_vectors(
        self, rows: SparseRows, k: int = 10, *, texts: Sequence[str], **options: Unpack[SearchOptions]
    ) -> list[list[Hit]]:
        """The hits of queries whose vectors over the latents are there already; texts: what they are of."""
        asked = self._asking(k, options)
        if rows.n_latents != self.n_latents:
            raise MismatchError(f"{self.store.url}: vectors of {self.n_latents} latents, not of {rows.n_latents}")
        return self._search(rows, check_queries(texts, "search_vectors"), asked)

    def _asking(self, k: int, options: SearchOptions) -> EngineSearch:
        named = None if self._words is None else self._words.channel
        request = Request.read(k, resolver(self.n_latents, self.concepts, named), **options)
        if request.mode != "exact":
            raise InputError(f"{request.mode} search is of an index on disk; an engine searches as its URL says")
        self.contents.fields.check(where := options.get("where") or {})
        parts = (self.n_latents, lambda: self.encoder, self._words, self.concepts, request, tests_of(where))
        return EngineSearch(self.store, *parts)

    def _search(self, latents: SparseRows, texts: Sequence[str], asked: EngineSearch) -> list[list[Hit]]:
        if self._words is not None:
            latents = latents.beside(self._words.query(texts if asked.request.words else [""] * len(texts)))
        return [asked.hits(text, latents[i]) for i, text in enumerate(texts)]
