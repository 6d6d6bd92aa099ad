"""What every framework's retriever does: search, and say of each hit what belongs into a document's metadata."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from saelex.errors import InputError
from saelex.index.filters import ALL, Where
from saelex.index.hits import Hit
from saelex.index.index import Index
from saelex.index.request import SearchOptions

KEY = "saelex"
"""Under which metadata keep what saelex says of a hit, beside the document's own."""


class Found(NamedTuple):
    """A hit with the metadata that it goes into a framework with."""

    hit: Hit
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Retrieval:
    """How to search an index, and what to tell of its hits.

    options: those of `Index.search` beside query and k. snippet_words: of a snippet, None for none. explain: whether to
    tell why. Both need the explanation of every hit, and depend on the query. Raises InputError for other options.
    """

    index: Index
    options: Mapping[str, Any] = field(default_factory=dict)
    snippet_words: int | None = None
    explain: bool = False

    def __post_init__(self) -> None:
        for name in self.options:
            if name not in SearchOptions.__annotations__:
                raise InputError(
                    f"{name!r} is no option of a search; known are {', '.join(SearchOptions.__annotations__)}"
                )

    def search(self, query: str, k: int) -> list[Found]:
        """`Index.search`, and its errors."""
        return self._told(self.index.search(query, k, **self.options))

    async def asearch(self, query: str, k: int) -> list[Found]:
        """`Index.asearch`; explanations, too, are made beside the event loop."""
        return await asyncio.to_thread(self._told, await self.index.asearch(query, k, **self.options))

    def _told(self, hits: Iterable[Hit]) -> list[Found]:
        return [Found(hit, {**hit.document.metadata, KEY: self._of(hit)}) for hit in hits]

    def _of(self, hit: Hit) -> dict[str, Any]:
        told: dict[str, Any] = {
            "id": hit.id,
            "title": hit.document.title,
            "passage": [hit.passage.start, hit.passage.end],
        }
        if self.snippet_words is None and not self.explain:
            return told
        explanation = hit.explain()
        if self.snippet_words is not None:
            snippet = hit.snippet(self.snippet_words, explanation=explanation)
            told |= {"snippet": snippet.text, "marks": [[mark.start, mark.end] for mark in snippet.marks]}
        return {**told, "explanation": explanation.to_json()} if self.explain else told


def both(options: Mapping[str, Any] | None, where: Where | None) -> dict[str, Any]:
    """The options of a search whose `where`, if there is any, holds beside this one."""
    own = (options or {}).get("where")
    filters = [part for part in (own, where) if part]
    return {**(options or {}), "where": {ALL: filters} if len(filters) > 1 else (filters or [None])[0]}
