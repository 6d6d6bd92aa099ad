"""What an index knows of where its latents fire, in the form that labels are derived from."""

from __future__ import annotations

from collections.abc import Iterator

from saelex.concepts.labels import Firing
from saelex.index.index import Index


def firings(index: Index) -> Iterator[Firing]:
    """Every passage with its latents, their stored weights and tokens; words are left out.

    Streams. Raises InputError for an index without forward rows.
    """
    n_latents, encoder = index.encoder.n_latents, index.encoder
    for ids, texts, rows in index.stored():
        for i, (name, text) in enumerate(zip(ids, texts)):
            row = rows[i]
            last = row.latents.searchsorted(n_latents)  # words follow the latents
            positions = None if row.positions is None else row.positions[:last]
            spans = encoder.token_spans(text, "document")
            yield Firing(name, text, row.latents[:last], row.weights[:last], positions, spans)
