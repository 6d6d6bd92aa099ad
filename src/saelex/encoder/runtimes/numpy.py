"""BERT in numpy: the lightest runtime, for queries, and for documents where nothing quicker is installed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from saelex.encoder.backbone.bert_settings import BertSettings
from saelex.encoder.backbone.stored import BertWeights, Block, Dense
from saelex.encoder.runtimes.activations import activation_named
from saelex.encoder.runtimes.layer_norm import layer_norm
from saelex.encoder.runtimes.product import product
from saelex.encoder.runtimes.runtime import Arithmetic

Array = NDArray[np.float32]


class NumpyBert:
    """See `TokenStates`. Texts are never padded: products are of all tokens, attention is text by text."""

    arithmetic = Arithmetic("numpy")

    def __init__(self, weights: BertWeights, shape: BertSettings) -> None:
        self._weights = weights
        self._shape = shape
        self._activate = activation_named(shape.hidden_act)

    def states(self, ids: Sequence[NDArray[np.int64]]) -> Array:
        """See `TokenStates.states`."""
        hidden = embedded(self._weights, self._shape, ids)
        ends = [0, *np.cumsum([len(text) for text in ids]).tolist()]
        for block in self._weights.blocks:
            hidden = self._through(block, hidden, ends)
        return hidden

    def _through(self, block: Block, hidden: Array, ends: list[int]) -> Array:
        eps = self._shape.layer_norm_eps
        attended = dense(self._attended(dense(hidden, block.projections), ends), block.attended)
        attended += hidden
        attended = layer_norm(attended, *block.attended_norm, eps)
        widened = dense(attended, block.widened)
        self._activate(widened)
        out = dense(widened, block.narrowed)
        out += attended
        return layer_norm(out, *block.norm, eps)

    def _attended(self, projected: Array, ends: list[int]) -> Array:
        """projected: [tokens, 3 d_model], query, key and value; ends: where each text ends. -> [tokens, d_model]."""
        width, heads = self._shape.hidden_size, self._shape.num_attention_heads
        scale = np.float32((width // heads) ** -0.5)
        out = np.empty((len(projected), width), np.float32)
        for start, end in pairwise(ends):
            # [3, heads, length, d_head]
            parts = projected[start:end].reshape(end - start, 3, heads, width // heads).transpose(1, 2, 0, 3)
            query, key, value = np.ascontiguousarray(parts)
            query *= scale
            scores = query @ key.transpose(0, 2, 1)  # [heads, length, length]
            scores -= scores.max(axis=-1, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(axis=-1, keepdims=True)
            out[start:end] = (scores @ value).transpose(1, 0, 2).reshape(end - start, width)
        return out


def embedded(weights: BertWeights, shape: BertSettings, ids: Sequence[NDArray[np.int64]]) -> Array:
    """What the first block reads, [tokens, d_model]."""
    positions = np.concatenate([np.arange(len(text)) for text in ids])
    hidden: Array = weights.words[np.concatenate(ids)] + weights.positions[positions]
    return layer_norm(hidden, *weights.norm, shape.layer_norm_eps)


def dense(states: Array, layer: Dense) -> Array:
    """states @ weight.T + bias, [tokens, d_out]."""
    total = product(states, layer.weight)
    total += layer.bias
    return total
