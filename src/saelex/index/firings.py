"""What an index knows of where its latents fire, in the form that labels are derived from."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tqdm import tqdm

from saelex.concepts.labels import Firing
from saelex.index.index import Index


def firings(index: Index, wanted: Callable[[str], bool] = lambda name: True, *, progress: str = "") -> Iterator[Firing]:
    """Passages with their latents, stored weights and tokens; words are left out. Streams.

    wanted: whether a document id belongs to it. progress: the title of a progress bar; none without.
    Raises InputError for an index without forward rows.
    """
    n_latents, encoder = index.encoder.n_latents, index.encoder
    with tqdm(desc=progress, unit="passage", disable=not progress, leave=False) as bar:
        for ids, texts, rows in index.stored():
            for i, (name, text) in enumerate(zip(ids, texts)):
                if wanted(name):
                    row = rows[i]
                    last = row.latents.searchsorted(n_latents)  # words follow the latents
                    positions = None if row.positions is None else row.positions[:last]
                    spans = encoder.token_spans(text, "document")
                    yield Firing(name, text, row.latents[:last], row.weights[:last], positions, spans)
            bar.update(len(ids))
