"""Text to dense vectors, by whichever of two ways makes them as the model's makers do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from saelex.encoder.backbone.architectures import ARCHITECTURES
from saelex.encoder.dense.settings import DenseSettings, Similarity, dense_settings, open_dense
from saelex.encoder.settings import Side
from saelex.errors import InputError
from saelex.loading import Loading
from saelex.reading.regular import is_folder

if TYPE_CHECKING:
    import torch


class Embedder(Protocol):
    """A dense model.

    name: hub id, or the folder's name. digest: sha256 over all that decides a vector: weights, tokenizer, settings.
    similarity: of two vectors; those of "cosine" have unit length, so that their dot product is it.
    """

    name: str
    similarity: Similarity

    @property
    def digest(self) -> str:
        """Computed when first asked for."""

    def embed(self, texts: Sequence[str], side: Side, *, progress: bool = False) -> NDArray[np.float32]:
        """float32 [texts, dimensions]."""


def load_embedder(
    model: str | Path,
    *,
    undescribed: DenseSettings | None = None,
    batch_size: int = 32,
    device: str | torch.device | None = None,
    revision: str | None = None,
) -> Embedder:
    """A dense model by hub id or folder: encoders that are pooled plainly here, all others by sentence-transformers.

    undescribed: of a model of which neither its files nor its makers, so far as known, say how one vector is made.
    batch_size: texts read at once. device: a GPU where there is one, unless told otherwise.

    Raises InputError for a model that is not there, for one that is not described, and for one that only
    sentence-transformers reads where that is not installed.
    """
    loading = Loading(device=device, revision=revision)
    checkpoint = open_dense(model, loading)
    settings = dense_settings(checkpoint) or undescribed
    if settings is None:
        raise InputError(
            f"{model} is not described as a dense model (no modules.json of sentence-transformers): how its tokens "
            "become one vector is not known; give one that is"
        )
    name = Path(model).name if is_folder(model) else str(model)
    architecture = ARCHITECTURES.get(str(checkpoint.settings.get("model_type")))
    if settings.pooling == "other" or architecture is None or architecture.decoder:
        from saelex.encoder.dense.sentence_transformers import SentenceTransformersEmbedder

        return SentenceTransformersEmbedder(checkpoint, settings, name, loading, batch_size=batch_size)
    from saelex.encoder.dense.backbone_embedder import BackboneEmbedder

    return BackboneEmbedder.load(model, settings, name, loading, batch_size=batch_size)
