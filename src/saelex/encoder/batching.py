"""Texts to batches and back: a token budget per batch, and hidden states packed without padding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from saelex.encoder.tokens import TokenizedText
from saelex.vectors import SparseRows

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Item = TypeVar("Item")


class PaddedBatch(NamedTuple):
    """Texts of one forward pass, padded on the right to the longest of them."""

    input_ids: Tensor  # int64 [texts, length]
    attention_mask: Tensor  # int64 [texts, length]: 1 for tokens, 0 for padding
    pooled: Tensor  # bool [texts, length]: may activate latents


class PackedStates(NamedTuple):
    """Hidden states of the pooled tokens only, one text after the other."""

    hidden: Tensor  # [tokens, d_model]
    offsets: Tensor  # int64 [texts + 1]: text i owns the tokens offsets[i]:offsets[i + 1]
    positions: Tensor  # int64 [tokens]: index of each in its text's token sequence


class DistinctTexts(NamedTuple):
    """Texts without their copies: equal texts get equal vectors because only one of them is encoded."""

    texts: list[str]
    copies: NDArray[np.int64]  # [texts]: how many of the given texts each stands for
    which: NDArray[np.int64]  # [given texts]: which of `texts` each of them is

    @classmethod
    def of(cls, given: Sequence[str]) -> DistinctTexts:
        """In the order in which the texts first occur."""
        place = {text: i for i, text in enumerate(dict.fromkeys(given))}
        which = np.array([place[text] for text in given], np.int64)
        return cls(list(place), np.bincount(which, minlength=len(place)), which)

    def windows(self, size: int) -> Iterator[DistinctTexts]:
        """Consecutive parts of up to `size` texts, which keep their copies' number but not their places."""
        for start in range(0, len(self.texts), size):
            texts = self.texts[start : start + size]
            yield DistinctTexts(texts, self.copies[start : start + size], np.arange(len(texts)))


def windows(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Consecutive lists of up to `size` items: all that a stream ever holds."""
    iterator = iter(items)
    while window := list(islice(iterator, size)):
        yield window


def token_budget_batches(
    lengths: Sequence[int], budget: int, most_texts: int | None = None
) -> Iterator[NDArray[np.int64]]:
    """Indices of texts in batches of similar length whose padded size, longest x texts, stays within the budget.

    most_texts: in one batch, because pooling holds two numbers per text and latent; None: any number.

    Longest first, so that running out of memory shows in the first batch. A text longer than the budget is a batch of
    its own; texts without tokens are in none. Texts of equal length keep their order.
    """
    tokens = np.asarray(lengths, np.int64)
    order = np.argsort(-tokens, kind="stable")
    order = order[: np.count_nonzero(tokens)]
    start = 0
    while start < len(order):
        texts = min(max(1, budget // int(tokens[order[start]])), most_texts or len(order))
        yield order[start : start + texts]
        start += texts


def pad(texts: Sequence[TokenizedText], pad_id: int, device: torch.device | str = "cpu") -> PaddedBatch:
    """One batch of the texts, on the device.

    A text without tokens reads one padding token, which is not pooled: attention over nothing at all is NaN.
    """
    import torch

    length = max(1, *(len(text.ids) for text in texts))
    ids = np.full((len(texts), length), pad_id, np.int64)  # [texts, length]
    mask = np.zeros((len(texts), length), np.int64)
    mask[:, 0] = 1
    pooled = np.zeros((len(texts), length), np.bool_)
    for row, text in enumerate(texts):
        ids[row, : len(text.ids)] = text.ids
        mask[row, : len(text.ids)] = 1
        pooled[row, : len(text.ids)] = text.pooled
    return PaddedBatch(*(torch.from_numpy(array).to(device) for array in (ids, mask, pooled)))


def pack(hidden: Tensor, pooled: Tensor, sink_norm: float | None = None) -> PackedStates:
    """The pooled tokens' states [texts, length, d_model] -> [tokens, d_model], one text after the other.

    pooled: bool [texts, length]. sink_norm: tokens with a larger L2 norm (in float32) are attention sinks and stay out.
    """
    import torch

    if sink_norm is not None:
        pooled = pooled & (hidden.float().norm(dim=-1) <= sink_norm)
    texts, positions = pooled.nonzero(as_tuple=True)  # [tokens] each, texts ascending
    offsets = torch.zeros(len(pooled) + 1, dtype=torch.int64, device=hidden.device)
    torch.cumsum(pooled.sum(dim=1), dim=0, out=offsets[1:])
    return PackedStates(hidden[texts, positions], offsets, positions)


def unpack_positions(rows: SparseRows, packed: PackedStates) -> SparseRows:
    """The same rows with `positions` counted in the text's tokens, where pooling counted the packed ones."""
    if rows.positions is None:
        return rows
    starts = packed.offsets.cpu().numpy()[:-1]  # [texts]
    where = packed.positions.cpu().numpy()  # [tokens]
    token = rows.positions.astype(np.int64) + np.repeat(starts, rows.lengths)
    known = rows.positions >= 0
    positions = np.full(rows.n_nonzero, -1, np.int32)
    positions[known] = where[token[known]]
    return SparseRows(rows.indptr, rows.latents, rows.weights, rows.n_latents, positions)
