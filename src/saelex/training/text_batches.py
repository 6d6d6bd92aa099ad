"""Texts as padded batches, tokenised as the states of an SAE are: prompt, length and masks from TokenStates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.batching import PaddedBatch, pad, token_budget_batches, windows
from saelex.encoder.settings import EncoderSettings
from saelex.encoder.tokens import TextTokenizer, rust_tokenizer
from saelex.training.text_settings import TokenStates

TEXTS_PER_WINDOW = 256


class TextBatch(NamedTuple):
    """Texts of one forward pass."""

    numbers: NDArray[np.int64]  # [texts]: place of each in the stream, from 0
    padded: PaddedBatch


def state_tokenizer(backbone: Backbone, settings: TokenStates) -> TextTokenizer:
    """The backbone's tokenizer under an SAE's settings; a text is its side "document"."""
    return TextTokenizer(
        rust_tokenizer(backbone),
        EncoderSettings(
            document_prompt=settings.prompt,
            pool_prompt=False,
            max_document_length=settings.max_length,
            mask_special_tokens=settings.mask_special_tokens,
            sink_norm=settings.sink_norm,
        ),
        backbone.max_length,
        n_words=backbone.n_words,
    )


def text_batches(
    backbone: Backbone, tokenizer: TextTokenizer, texts: Iterable[str], budget: int
) -> Iterator[TextBatch]:
    """Batches of texts of similar length within a budget of padded tokens; at most 256 texts are held at a time.

    Blank texts have no tokens and are in no batch, but are counted in `numbers`.
    """
    seen = 0
    for window in windows(texts, TEXTS_PER_WINDOW):
        tokenized = tokenizer.tokenize(window, "document")
        for which in token_budget_batches([len(text.ids) for text in tokenized], budget):
            yield TextBatch(seen + which, pad([tokenized[i] for i in which], backbone.pad_id, backbone.device))
        seen += len(window)
