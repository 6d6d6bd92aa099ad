"""Masked batches: which tokens are hidden, what stands in their place, and where each is predicted from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saelex.encoder.batching import pad
from saelex.encoder.tokens import TokenizedText


class MaskedBatch(TypedDict):
    """Texts with masked tokens; the loss is over `labels` alone."""

    input_ids: Tensor  # int64 [texts, length], masked
    attention_mask: Tensor  # int64 [texts, length]
    rows: Tensor  # int64 [masked]: text of each masked token
    columns: Tensor  # int64 [masked]: position whose hidden state predicts it
    labels: Tensor  # int64 [masked]: the token that was there


@dataclass(frozen=True)
class Masking:
    """BERT's masking (Devlin et al. 2019), and with `shifted` masked next-token prediction (LLM2Vec, 2404.05961).

    share: of the tokens that are masked, each by itself. mask_id: stands for a masked token, but for the shares `keep`
    and `random`. words: ids [words] that `random` draws from. shifted: the token at position i is predicted from the
    hidden state at i - 1, so the first token of a text is never masked. pad_id: fills batches up.
    """

    share: float
    mask_id: int
    keep: float
    random: float
    words: NDArray[np.int64]
    shifted: bool
    pad_id: int

    def candidates(self, text: TokenizedText) -> NDArray[np.bool_]:
        """Which tokens [tokens] may be masked: all but special ones, and but the first one where labels shift."""
        may: NDArray[np.bool_] = text.pooled.copy()
        if self.shifted:
            may[:1] = False
        return may

    def __call__(self, texts: Sequence[TokenizedText], generator: np.random.Generator) -> MaskedBatch:
        """One batch; at least one token is masked where any may be."""
        batch = pad(texts, self.pad_id)
        ids = batch.input_ids.numpy()  # [texts, length], masked in place
        may = np.zeros(ids.shape, np.bool_)
        for row, text in enumerate(texts):
            may[row, : len(text.ids)] = self.candidates(text)
        masked = may & (generator.random(ids.shape) < self.share)
        if not masked.any() and may.any():
            masked.ravel()[generator.choice(np.flatnonzero(may))] = True
        rows, columns = masked.nonzero()  # [masked] each
        labels = ids[rows, columns]
        fate = generator.random(len(rows))
        replaced = np.full(len(rows), self.mask_id)
        drawn = fate < self.keep + self.random
        replaced[drawn] = generator.choice(self.words, int(drawn.sum()))
        kept = fate < self.keep
        replaced[kept] = labels[kept]
        ids[rows, columns] = replaced
        return {
            "input_ids": batch.input_ids,
            "attention_mask": batch.attention_mask,
            "rows": torch.from_numpy(rows),
            "columns": torch.from_numpy(columns - int(self.shifted)),
            "labels": torch.from_numpy(labels),
        }
