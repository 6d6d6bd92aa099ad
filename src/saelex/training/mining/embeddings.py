"""Teachers that read query and document apart: each text is encoded once, and its vector kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from saelex.encoder.dense.embedder import load_embedder
from saelex.encoder.dense.settings import DenseSettings
from saelex.encoder.encoder import Encoder
from saelex.encoder.settings import Side
from saelex.files import replacing
from saelex.progress import progress_bar
from saelex.reading.arrays import read_npy
from saelex.vectors import SparseRows

CHUNK = 1024
"""Texts whose vectors lie in one file."""

Rows = Any
"""An array [texts, dimensions] or SparseRows: what can be indexed by row numbers."""


class TwoSidedModel(Protocol):
    """A model with vectors of queries and of documents."""

    name: str

    def encode(self, texts: Sequence[str], side: Side) -> Rows:
        """One row a text."""

    def save(self, path: Path, rows: Rows) -> None:
        """Whole or not at all."""

    def load(self, path: Path) -> Rows:
        """What `save` wrote, memory-mapped."""

    def join(self, parts: Sequence[Rows]) -> Rows:
        """One after the other."""

    def products(self, queries: Rows, documents: Rows) -> NDArray[np.float32]:
        """Score of every query with the document in the same row, [rows]."""


class DenseModel:
    """A dense model, with its own prompts and its own similarity."""

    def __init__(self, source: str, batch_size: int) -> None:
        # what its files leave open is as sentence-transformers has it: the mean, and cosines
        self._embedder = load_embedder(source, undescribed=DenseSettings(), batch_size=batch_size)
        self.name = self._embedder.name

    def encode(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        """float32 [texts, dimensions]."""
        return self._embedder.embed(texts, side)

    def save(self, path: Path, rows: NDArray[np.float32]) -> None:
        """As one `.npy` file."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, rows)

    def load(self, path: Path) -> NDArray[np.float32]:
        """The file that `save` wrote."""
        return read_npy(path, mmap=True)

    def join(self, parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """[all texts, dimensions]."""
        return np.concatenate(parts)

    def products(self, queries: NDArray[np.float32], documents: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cosines, dot products, or distances below zero, as the model's similarity is."""
        order = {"euclidean": 2, "manhattan": 1}.get(self._embedder.similarity)
        if order is not None:
            distances: NDArray[np.float32] = np.linalg.norm(queries - documents, ord=order, axis=1)
            return -distances
        products: NDArray[np.float32] = np.einsum("rd,rd->r", queries, documents)
        return products


class SparseModel:
    """A saelex encoder, at its own Top-K."""

    def __init__(self, source: str) -> None:
        self.name = Path(source).name
        self._encoder = Encoder.load(source)

    def encode(self, texts: Sequence[str], side: Side) -> SparseRows:
        """One row a text."""
        return self._encoder.encode(texts, side=side)

    def save(self, path: Path, rows: SparseRows) -> None:
        """As a folder."""
        rows.save(path)

    def load(self, path: Path) -> SparseRows:
        """The folder that `save` wrote."""
        return SparseRows.load(path)

    def join(self, parts: Sequence[SparseRows]) -> SparseRows:
        """The rows of all."""
        return SparseRows.concatenate(parts)

    def products(self, queries: SparseRows, documents: SparseRows) -> NDArray[np.float32]:
        """Dot products."""
        products = queries.to_scipy().multiply(documents.to_scipy()).sum(axis=1)
        return np.asarray(products, np.float32).reshape(-1)


class StoredVectors:
    """The vectors of one side's texts, a file for each CHUNK of them; what an earlier run has encoded is kept."""

    def __init__(
        self, model: TwoSidedModel, texts: Sequence[str], side: Side, folder: Path, *, progress: bool = False
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._model = model
        self._paths = [folder / f"{side}{chunk:05}.npy" for chunk in range(-(-len(texts) // CHUNK))]
        with progress_bar(total=len(texts), desc=f"{model.name} {side}", unit="text", shown=progress) as bar:
            for chunk, path in enumerate(self._paths):
                of_chunk = texts[chunk * CHUNK : (chunk + 1) * CHUNK]
                if not path.exists():
                    model.save(path, model.encode(of_chunk, side))
                bar.update(len(of_chunk))

    def take(self, texts: NDArray[np.int64]) -> Rows:
        """The rows of these texts, by their numbers, in this order."""
        order = np.argsort(texts, kind="stable")
        chunks, starts = np.unique(texts[order] // CHUNK, return_index=True)
        parts = [
            self._model.load(self._paths[chunk])[texts[chosen] - chunk * CHUNK]
            for chunk, chosen in zip(chunks, np.split(order, starts[1:]))
        ]
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return self._model.join(parts)[back]
