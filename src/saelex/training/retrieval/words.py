"""Words beside latents while training: BM25 is given, and the latents learn what words miss."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from saelex.encoder.words.channel import LexicalChannel, LexicalSettings
from saelex.encoder.words.languages import DEFAULT_LANGUAGE


class WordScores:
    """BM25 over words of queries and passages, its statistics counted once.

    texts: passages that the statistics are counted over; equal ones count once. scale: factor of every score, as
    `EncoderSettings.word_scale` is at search time. language: as in `LexicalSettings`.
    """

    def __init__(self, texts: Iterable[str], scale: float, language: str = DEFAULT_LANGUAGE) -> None:
        self.scale = scale
        self._channel = LexicalChannel(LexicalSettings(language)).fit(dict.fromkeys(texts))

    def __call__(self, queries: Sequence[str], passages: Sequence[str]) -> Tensor:
        """float32 [queries, passages]."""
        documents = self._channel.document(passages)
        return self.scale * torch.from_numpy(self._channel.query(queries).dot(documents))
