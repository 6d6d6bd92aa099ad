"""Many queries in one go: a run, as the field's tools read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from saelex.corpus.documents import Run
from saelex.progress import progress_bar
from saelex.vectors import SparseRows

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from saelex.index.hits import Hit
    from saelex.index.request import SearchOptions

_BATCH = 256  # queries searched together, between two steps of the progress bar


class Searched(Protocol):
    """What is asked: an index, or an engine that holds one."""

    def search_batch(self, queries: Sequence[str], k: int = 10, **options: Unpack[SearchOptions]) -> list[list[Hit]]:
        """See `Index`."""

    def search_vectors(
        self, rows: SparseRows, k: int = 10, *, texts: Sequence[str], **options: Unpack[SearchOptions]
    ) -> list[list[Hit]]:
        """See `Index`."""


def search_all(
    index: Searched,
    queries: Mapping[str, str],
    depth: int,
    *,
    latents: SparseRows | None = None,
    title: str = "",
    **options: Unpack[SearchOptions],
) -> Run:
    """What an index finds for queries, given as id -> text: the `depth` best of each. A blank query finds nothing.

    latents: the queries' vectors, [queries, latents], where they are there already. title: of a progress bar; "" shows
    none. Options as in `Index.search`.
    """
    run: Run = {query: {} for query in queries}
    ids, texts = list(queries), list(queries.values())
    asked = [i for i, text in enumerate(texts) if text.strip()]
    with progress_bar(total=len(asked), desc=title, unit="query", shown=bool(title), leave=False) as bar:
        for start in range(0, len(asked), _BATCH):
            batch = asked[start : start + _BATCH]
            some = [texts[i] for i in batch]
            if latents is None:
                answers = index.search_batch(some, depth, **options)
            else:
                answers = index.search_vectors(latents[batch], depth, texts=some, **options)
            run |= {ids[i]: {hit.id: hit.score for hit in hits} for i, hits in zip(batch, answers)}
            bar.update(len(batch))
    return run
