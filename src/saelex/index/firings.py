"""What an index knows of where its latents fire, in the form that labels are derived from."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tqdm import tqdm

from saelex.concepts.labels import Firing
from saelex.index.index import Index

MOST_PASSAGES = 50_000
"""Passages read of a larger index: deriving labels goes through some hundreds a second, so this takes minutes."""


def firings(
    index: Index,
    wanted: Callable[[str], bool] = lambda name: True,
    *,
    most: int | None = MOST_PASSAGES,
    progress: str = "",
) -> Iterator[Firing]:
    """Passages with their latents, stored weights and tokens; words are left out. Streams.

    wanted: whether a document id belongs to it. most: of an index with more passages, so many are drawn at random (the
    same ones every time, `wanted` or not); None reads them all. progress: the title of a progress bar, which says so;
    none without. Raises InputError for an index without forward rows.
    """
    n_latents, encoder = index.encoder.n_latents, index.encoder
    total = index.n_passages
    if most is not None and most < total:
        progress = progress and f"{progress}, from a sample of {most:,} of {total:,} passages"
        total = most
    with tqdm(desc=progress, total=total, unit="passage", disable=not progress, leave=False) as bar:
        for ids, texts, rows in index.stored(sample=most):
            for i, (name, text) in enumerate(zip(ids, texts)):
                if wanted(name):
                    row = rows[i]
                    last = row.latents.searchsorted(n_latents)  # words follow the latents
                    positions = None if row.positions is None else row.positions[:last]
                    spans = encoder.token_spans(text, "document")
                    yield Firing(name, text, row.latents[:last], row.weights[:last], positions, spans)
            bar.update(len(ids))
