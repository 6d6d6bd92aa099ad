"""sentence-transformers over an Encoder: the folder that `save_pretrained` writes is a SparseEncoder too.

`SparseEncoder(folder, trust_remote_code=True)` (version 6 wants the flag for every class that is not its own) gives the
vectors that `Encoder` gives, because one module runs the Encoder's own path from token ids to Top-K. The model's
`max_active_dims` stays unset: one number cannot serve queries and documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules.input_module import InputModule
from torch import Tensor

from saelex.encoder.batching import PaddedBatch, pack, pad
from saelex.encoder.encoder import Encoder
from saelex.encoder.files.folder import resolve, write_encoder
from saelex.encoder.inference import encode_batch
from saelex.encoder.pooling import pool
from saelex.encoder.settings import Side
from saelex.encoder.tokens import TokenizedText
from saelex.errors import InputError
from saelex.loading import Loading
from saelex.vectors import SparseRows


class LatentModule(InputModule):  # type: ignore[misc]
    """The one module of such a SparseEncoder: texts in, `sentence_embedding` [texts, latents] out.

    One instead of two, a Transformer and a head, because only both together avoid a [texts, length, latents] tensor.

    In evaluation mode the embedding is the Encoder's row, weighted and cut to the Top-K of its side (`task`: "query",
    or anything else for documents; `max_active_dims` of a call takes the Top-K's place). In training mode it is whole
    and has gradients.
    """

    forward_kwargs = {"task", "max_active_dims"}  # noqa: RUF012  (the base class declares it so)

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.backbone, self.head = encoder.backbone, encoder.head

    @property
    def tokenizer(self) -> Any:
        """The backbone's tokenizer."""
        return self.encoder.backbone.tokenizer

    @property
    def max_seq_length(self) -> int | None:
        """Most tokens of a document; setting it sets the limit of both sides."""
        return self.encoder.settings.max_document_length or self.encoder.backbone.max_length

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        settings = self.encoder.settings
        self.encoder.settings = replace(settings, max_query_length=value, max_document_length=value)

    def get_embedding_dimension(self) -> int:
        """Number of latents."""
        return self.encoder.n_latents

    def preprocess(
        self, inputs: Sequence[str], prompt: str | None = None, task: str | None = None, **_: Any
    ) -> dict[str, Tensor]:
        """Token ids [texts, length], attention mask, and the mask of tokens that may activate latents."""
        texts = self.encoder.tokenizer.tokenize(list(inputs), _side(task), prompt or "")
        return pad(texts, self.encoder.backbone.pad_id)._asdict()

    def forward(
        self, features: dict[str, Any], task: str | None = None, max_active_dims: int | None = None
    ) -> dict[str, Any]:
        """Adds `sentence_embedding`, float32 [texts, latents]."""
        batch = PaddedBatch(features["input_ids"], features["attention_mask"], features["pooled"])
        if self.training:
            features["sentence_embedding"] = self._trainable(batch, task)
        else:
            side = _side(task)
            top_k = self.encoder.settings.top_k(side) if max_active_dims is None else max_active_dims
            rows = encode_batch(self.encoder, _unpad(batch), side, top_k)
            features["sentence_embedding"] = torch.from_numpy(rows.to_dense()).to(batch.input_ids.device)
        return features

    def _trainable(self, batch: PaddedBatch, task: str | None) -> Tensor:
        encoder = self.encoder
        if encoder.weighting is not None:
            raise InputError("a model with a frozen weighting over its latents is not trained further; set it to None")
        if encoder.token_weights is not None and task == "query":
            raise InputError("the queries of a doc-only model are fixed token weights and are not trained here")
        hidden = self.backbone(batch.input_ids, batch.attention_mask)  # [texts, length, d_model]
        packed = pack(hidden, batch.pooled, encoder.settings.sink_norm)
        return pool(packed.hidden, packed.offsets, self.head).weights

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Writes the encoder's files into the model folder."""
        write_encoder(self.encoder, Path(output_path), card_name=Path(output_path).name)

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        model_kwargs: dict[str, Any] | None = None,
        **_: Any,
    ) -> LatentModule:
        """The module of a saved model; `model_kwargs={"dtype": ...}` sets the backbone's dtype."""
        loading = Loading(revision=revision, token=token)
        folder = resolve(model_name_or_path, loading, cache_folder=cache_folder, local_files_only=local_files_only)
        wanted = model_kwargs or {}
        return cls(
            Encoder.load(folder, device="cpu", token=token, dtype=wanted.get("dtype", wanted.get("torch_dtype")))
        )


class LatentSparseEncoder(SparseEncoder):  # type: ignore[misc]
    """SparseEncoder whose `decode` knows latents: the base class looks their numbers up in the tokenizer."""

    @classmethod
    def from_encoder(cls, encoder: Encoder) -> LatentSparseEncoder:
        """Around an encoder in memory, for sentence-transformers' trainer, evaluators and search helpers."""
        prompts = {"query": encoder.settings.query_prompt, "document": encoder.settings.document_prompt}
        device = str(encoder.device)
        return cls(modules=[LatentModule(encoder)], prompts=prompts, device=device, similarity_fn_name="dot")

    def decode(self, embeddings: Tensor, top_k: int | None = None) -> Any:
        """(label, weight) pairs, heaviest first: a list for one vector [latents], a list of lists for a batch."""
        single = embeddings.ndim == 1
        rows = SparseRows.from_torch(embeddings.unsqueeze(0) if single else embeddings)
        named = self[0].encoder.decode(rows, top_k)
        return named[0] if single else named


def _side(task: str | None) -> Side:
    return "query" if task == "query" else "document"


def _unpad(batch: PaddedBatch) -> list[TokenizedText]:
    """The texts [tokens] of a batch [texts, length]."""
    ids, mask, pooled = (tensor.cpu().numpy() for tensor in batch)
    lengths = mask.sum(axis=1)
    return [
        TokenizedText(np.asarray(row[:n], np.int64), np.asarray(keep[:n], np.bool_))
        for row, keep, n in zip(ids, pooled, lengths)
    ]
