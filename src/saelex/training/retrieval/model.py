"""The encoder as a module that trains: padded texts in, vectors of latents with gradients out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from saelex.encoder.batching import pack
from saelex.encoder.encoder import Encoder
from saelex.encoder.pooling import pool
from saelex.encoder.settings import Side
from saelex.encoder.weighting import LatentWeighting
from saelex.errors import InputError
from saelex.training.retrieval.batch import Chunk, Texts
from saelex.training.retrieval.decoder import Decoder, Reconstruction


class Vectors(NamedTuple):
    """What a chunk's texts become; float32, with gradients."""

    queries: Tensor  # [queries, latents]
    passages: Tensor  # [passages, latents]
    reconstruction: Reconstruction | None  # of the tokens of both, where the model has a decoder


class RetrievalModel(nn.Module):
    """An encoder under training; both sides of a chunk in one forward pass, which is what DDP and FSDP want.

    Weights are those of `Encoder.encode` before Top-K, a frozen weighting over latents included.
    decoder: gives the tokens' states back from the head's latents, where the loss asks for it.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder | None = None) -> None:
        super().__init__()
        if encoder.token_weights is not None:
            raise InputError("the queries of a doc-only model are fixed token weights; train another encoder")
        self.backbone = encoder.backbone
        self.head = encoder.head
        self.decoder = decoder
        self.weighting = None if encoder.weighting is None else TensorWeighting(encoder.weighting)
        self.sink_norm = encoder.settings.sink_norm

    def forward(self, chunk: Chunk) -> Vectors:
        """Vectors of the chunk's queries and passages."""
        queries, passages = self._states(chunk.queries), self._states(chunk.passages)
        reconstruction = None
        if self.decoder is not None:
            reconstruction = self.decoder(torch.cat([queries.hidden, passages.hidden]), self.head)
        return Vectors(
            self._weights(queries, "query")[chunk.queries.places],
            self._weights(passages, "document")[chunk.passages.places],
            reconstruction,
        )

    def trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters that learn, each once, with their names."""
        return ((name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad)

    def _states(self, texts: Texts) -> _States:
        packed = [
            pack(self.backbone(part.input_ids, part.attention_mask), part.pooled, self.sink_norm)
            for part in texts.parts
        ]
        starts = [0]
        for part in packed:
            starts.append(starts[-1] + len(part.hidden))
        offsets = [part.offsets[:-1] + start for part, start in zip(packed, starts)]
        offsets.append(offsets[0].new_tensor([starts[-1]]))
        return _States(torch.cat([part.hidden for part in packed]), torch.cat(offsets))

    def _weights(self, states: _States, side: Side) -> Tensor:
        weights = pool(states.hidden, states.offsets, self.head).weights
        return weights if self.weighting is None else self.weighting(weights, side)


class _States(NamedTuple):
    """The pooled tokens of one side's texts, in the order of the parts' rows."""

    hidden: Tensor  # [tokens, d_model]
    offsets: Tensor  # int64 [texts + 1]


class TensorWeighting(nn.Module):
    """`LatentWeighting` over dense tensors with gradients; its statistics stay frozen."""

    idf: Tensor

    def __init__(self, weighting: LatentWeighting) -> None:
        super().__init__()
        self.settings = weighting.settings
        self.mean_length = weighting.statistics.mean_length
        self.register_buffer("idf", torch.from_numpy(weighting.idf_share()).float(), persistent=False)

    def forward(self, weights: Tensor, side: Side) -> Tensor:
        """Weights of texts of one side; [texts, latents] in and out."""
        settings = self.settings
        if side == "query":
            saturated = weights if settings.query_k1 is None else weights / (weights + settings.query_k1)
        else:
            relative = weights.sum(1, keepdim=True) / self.mean_length  # [texts, 1]
            norm = 1 - settings.b + settings.b * relative
            # an all-zero text has norm 0 where b is 1; its weights are 0 either way
            saturated = weights / (norm.clamp_min(1e-9) if settings.k1 is None else weights + settings.k1 * norm + 1e-9)
        return saturated * self.idf
