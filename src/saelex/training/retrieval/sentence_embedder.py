"""A dense teacher as a training opens it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from saelex.encoder.settings import Side
from saelex.training.examples.settings import EmbeddingTeacher
from saelex.training.mining.embeddings import DenseModel
from saelex.training.mining.teachers import model_teacher


class PromptedEmbedder:
    """A sentence-transformers model, a prompt before every text."""

    def __init__(self, settings: EmbeddingTeacher, device: torch.device) -> None:
        facts = model_teacher(settings.model, "", kind="dense").facts
        described = f"{sorted(facts.items())} {settings.query_prompt!r} {settings.document_prompt!r}"
        self.digest = hashlib.sha256(described.encode()).hexdigest()
        self._model = DenseModel(settings.model, batch_size=32)
        self._model._model.to(device)
        self.name = self._model.name
        self._prompts: dict[Side, str] = {"query": settings.query_prompt, "document": settings.document_prompt}

    def embed(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        """float32 [texts, dimensions]."""
        return self._model.encode([self._prompts[side] + text for text in texts], side)
