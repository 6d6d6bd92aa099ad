"""Dense teachers of a training: their embeddings of all texts that its steps will meet, made before the first one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from saelex.encoder.dense.embedder import Embedder
from saelex.encoder.settings import Side
from saelex.progress import progress_bar
from saelex.training.examples.example import Example
from saelex.training.examples.settings import EmbeddingTeacher
from saelex.training.retrieval.embedding_store import EmbeddingStore

_TOGETHER = 2048
"""Examples whose texts are embedded, and then kept, at once."""


class Embedded(NamedTuple):
    """What a dense teacher makes of a batch's texts, and how it counts; see `EmbeddingTeacher`."""

    queries: Tensor  # float32 [queries, dimensions], of unit length
    passages: Tensor  # float32 [passages, dimensions], likewise
    temperature: float
    weight: float

    def to(self, device: torch.device) -> Embedded:
        """On a device."""
        return self._replace(queries=self.queries.to(device), passages=self.passages.to(device))


class DenseTeacher:
    """Embeddings that lie in a store, and how they count."""

    def __init__(self, settings: EmbeddingTeacher, store: EmbeddingStore) -> None:
        self.settings = settings
        self.store = store

    def embedded(self, queries: Sequence[str], passages: Sequence[str]) -> Embedded:
        """Raises InputError for a text that was not embedded before."""
        asked = torch.from_numpy(self.store.take(queries, "query"))  # [queries, dimensions]
        held = torch.from_numpy(self.store.take(passages, "document"))  # [passages, dimensions]
        return Embedded(asked, held, self.settings.temperature, self.settings.weight)


def open_teachers(
    settings: Iterable[EmbeddingTeacher],
    folder: Path,
    examples: Callable[[], Iterator[Example]],
    open_embedder: Callable[[EmbeddingTeacher], Embedder],
    *,
    progress: bool = False,
) -> list[DenseTeacher]:
    """The teachers, once all texts of the examples are embedded: those that their folders have not are, one teacher
    after the other, so that one model at a time is in memory.

    folder: holds a folder for each teacher. examples: those that this process will meet, anew at each call.
    Raises what `EmbeddingStore` and `open_embedder` raise.
    """
    return [_open(one, folder, examples(), open_embedder(one), progress) for one in settings]


def _open(
    settings: EmbeddingTeacher, folder: Path, examples: Iterator[Example], embedder: Embedder, progress: bool
) -> DenseTeacher:
    store = EmbeddingStore(folder / f"{Path(embedder.name).name}-{embedder.digest[:12]}", {"digest": embedder.digest})
    with progress_bar(desc=embedder.name, unit="text", shown=progress) as bar:
        while some := list(islice(examples, _TOGETHER)):
            texts: dict[Side, list[str]] = {
                "query": [example.query for example in some],
                "document": [passage for example in some for passage in example.passages],
            }
            for side, of_side in texts.items():
                if missing := store.missing(of_side, side):
                    store.add(missing, side, embedder.embed(missing, side))
                    bar.update(len(missing))
    return DenseTeacher(settings, store)
