"""From tokens to sparse rows without gradients: batches by token budget, one forward pass each, rows in text order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from saelex.encoder.batching import DistinctTexts, pad, token_budget_batches
from saelex.encoder.parts import EncoderParts
from saelex.encoder.settings import Side
from saelex.encoder.tokens import TokenizedText
from saelex.errors import InputError
from saelex.top_k import TopKSetting
from saelex.vectors import SparseRows

_POOLED_ENTRIES = 2**23
"""Most texts x latents of one forward pass: their maxima and arg-max tokens take 8 bytes each."""


def encode_texts(
    encoder: EncoderParts, texts: DistinctTexts, side: Side, top_k: TopKSetting, done: Callable[[int], object]
) -> SparseRows:
    """Rows of the texts as they were given. done: called with the number of given texts that a batch has settled."""
    tokenized = encoder.tokenizer.tokenize(texts.texts, side)
    order: list[NDArray[np.int64]] = []
    parts: list[SparseRows] = []
    most_texts = max(1, _POOLED_ENTRIES // encoder.n_latents)
    for batch in token_budget_batches([len(text.ids) for text in tokenized], encoder.batch_tokens, most_texts):
        parts.append(encode_batch(encoder, [tokenized[i] for i in batch], side, top_k))
        order.append(batch)
        done(int(texts.copies[batch].sum()))
    blank = np.array([i for i, text in enumerate(tokenized) if not len(text.ids)], np.int64)
    parts.append(_blank_rows(len(blank), encoder.n_latents))
    done(int(texts.copies[blank].sum()))
    place = np.argsort(np.concatenate([*order, blank]))  # [distinct texts]
    return SparseRows.concatenate(parts)[place[texts.which]]


def encode_batch(encoder: EncoderParts, texts: Sequence[TokenizedText], side: Side, top_k: TopKSetting) -> SparseRows:
    """Rows of one batch of tokenised texts: the whole way from token ids to Top-K, in one forward pass."""
    if side == "query" and encoder.token_weights is not None:
        return encoder.token_weights.rows(texts).top_k(top_k)
    rows = encoder.runtime().rows(texts, encoder.settings.sink_norm)
    if (weighting := encoder.weighting) is not None:
        rows = weighting.query(rows) if side == "query" else weighting.document(rows)
    return rows.top_k(top_k)


def median_norm(encoder: EncoderParts, texts: Sequence[str]) -> float:
    """Median L2 norm of the hidden states of the texts' pooled tokens. Raises InputError where there are none."""
    import torch

    from saelex.encoder.runtimes.torch import evaluating

    norms = []
    tokenized = [text for text in encoder.tokenizer.tokenize(texts, "document") if len(text.ids)]
    with torch.inference_mode(), evaluating(encoder.backbone):
        for chosen in token_budget_batches([len(text.ids) for text in tokenized], encoder.batch_tokens):
            batch = pad([tokenized[i] for i in chosen], encoder.backbone.pad_id, encoder.device)
            hidden = encoder.backbone(batch.input_ids, batch.attention_mask)
            norms.append(hidden[batch.pooled].float().norm(dim=-1).cpu())  # [tokens]
    if not norms:
        raise InputError("no text to measure token norms on; give some that are not blank")
    return float(torch.cat(norms).median())


def _blank_rows(rows: int, n_latents: int) -> SparseRows:
    return replace(SparseRows.empty(n_latents, rows), positions=np.zeros(0, np.int32))
