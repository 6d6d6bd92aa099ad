"""Dense embeddings by our own backbones: equal to sentence-transformers', without its import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.dense.settings import DenseSettings
from saelex.encoder.digest import json_digest
from saelex.encoder.settings import Side
from saelex.encoder.tokens import check_texts, rust_tokenizer
from saelex.errors import InputError
from saelex.loading import Loading
from saelex.progress import progress_bar
from saelex.reading.regular import one_error


class BackboneEmbedder:
    """An `Embedder` over the last hidden states of a backbone's tokens, special ones and the prompt's included."""

    def __init__(
        self, backbone: Backbone, settings: DenseSettings, name: str | None = None, *, batch_size: int = 32
    ) -> None:
        self.name = name or backbone.model_id
        self.similarity = settings.similarity
        self._backbone = backbone
        self._settings = settings
        self._batch_size = batch_size
        self._tokenizer = rust_tokenizer(backbone)
        length = min(settings.max_length or backbone.max_length, backbone.max_length)
        if length < (frame := self._tokenizer.num_special_tokens_to_add(False)):
            raise InputError(f"{self.name}: at most {length} tokens leave no room for the model's {frame} special ones")
        self._tokenizer.enable_truncation(
            length, direction=(self._tokenizer.truncation or {}).get("direction", "right")
        )

    @classmethod
    def load(
        cls, model: str | Path, settings: DenseSettings, name: str, loading: Loading, *, batch_size: int = 32
    ) -> BackboneEmbedder:
        """All blocks of a model, in float32. Raises `Backbone.load`'s errors."""
        device = loading.on_best_device().device
        backbone = Backbone.load(model, output="final", dtype=torch.float32, device=device, **loading.hub)
        return cls(backbone, settings, name, batch_size=batch_size)

    @cached_property
    def digest(self) -> str:
        """sha256 over backbone, tokenizer and settings."""
        tokenizer = sha256(self._tokenizer.to_str().encode()).hexdigest()
        return json_digest([self._backbone.identity(), tokenizer, asdict(self._settings)])

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], side: Side, *, progress: bool = False) -> NDArray[np.float32]:
        """float32 [texts, d_model]. Batches hold texts of like length."""
        check_texts(texts)
        prompt = self._settings.prompt(side)
        # longest first: the largest batch comes at the start, so that memory fails at once or not at all
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        rows = np.zeros((len(texts), self._backbone.d_model), np.float32)
        with progress_bar(
            total=len(texts), desc=f"{self.name} {side}", unit="text", shown=progress, leave=False
        ) as bar:
            for start in range(0, len(order), self._batch_size):
                batch = order[start : start + self._batch_size]
                rows[batch] = self._embed_batch([prompt + texts[i] for i in batch]).cpu().numpy()
                bar.update(len(batch))
        return rows

    def _embed_batch(self, texts: list[str]) -> Tensor:
        with one_error("the model's tokenizer", "one that cuts such texts", "fetch the model again"):
            encodings = self._tokenizer.encode_batch_fast(texts)
        device = self._backbone.device
        ids = pad_sequence([torch.tensor(encoding.ids) for encoding in encodings], batch_first=True)  # [texts, length]
        if int(ids.max()) >= self._backbone.n_words:
            raise InputError(
                f"{self.name}: its tokenizer has tokens that its weights do not; they do not belong together"
            )
        lengths = torch.tensor([len(encoding.ids) for encoding in encodings])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).to(device)  # [texts, length]
        hidden = self._backbone(ids.to(device), mask.long())  # [texts, length, d_model]
        if self._settings.pooling == "cls":
            pooled = hidden[:, 0]  # [texts, d_model]
        else:
            pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return normalize(pooled, dim=1) if self._settings.unit_length else pooled
