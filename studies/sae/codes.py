"""What an SAE makes of token states: reconstruction, and one vector per text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saelex.sae.activations import TopK
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.topk_function import encode_topk, fast_bfloat16
from saelex.vectors import SparseRows
from studies.states import TextStates

_BLOCK_TOKENS = 8192
_BLOCK_CELLS = 2**23  # texts x latents that pooling holds at once


class Reconstruction(NamedTuple):
    """What an SAE loses of some states."""

    tokens: int
    fvu: float
    """Squared error over squared distance from the mean of all these states."""
    l0: float
    """Active latents per token, mean."""
    dead_share: float
    """Share of latents that none of these tokens activates."""


@torch.inference_mode()
def reconstruct(sae: SparseAutoencoder, texts: TextStates) -> Reconstruction:
    """How much of the states a TopK SAE gives back, at the k it was trained with."""
    k = _trained_k(sae)
    assert sae.W_dec is not None
    error = total_square = active = 0.0
    total = torch.zeros(texts.states.shape[1], dtype=torch.float64)
    fired = torch.zeros(sae.config.n_latents, dtype=torch.bool)
    for start in range(0, len(texts.states), _BLOCK_TOKENS):
        states = _float32(texts.states[start : start + _BLOCK_TOKENS])
        values, latents = _codes(sae, states, k)
        rebuilt = torch.nn.functional.embedding_bag(latents, sae.W_dec, per_sample_weights=values, mode="sum")
        error += float((states - rebuilt - sae.b_dec).pow(2).sum())
        total += states.double().sum(0)
        total_square += float(states.double().pow(2).sum())
        active += float((values > 0).sum())
        fired[latents[values > 0]] = True
    tokens = len(texts.states)
    spread = total_square - float(total.pow(2).sum()) / tokens
    return Reconstruction(tokens, error / spread, active / tokens, 1 - float(fired.float().mean()))


@torch.inference_mode()
def pooled_rows(sae: SparseAutoencoder, texts: TextStates, ks: Sequence[int]) -> list[SparseRows]:
    """For each k, one row per text: the square root of the maximum over its tokens, with k latents per token.

    The k are at most the one the SAE was trained with; the tokens are read once for all of them.
    """
    parts: list[list[SparseRows]] = [[] for _ in ks]
    n_latents = sae.config.n_latents
    for first, last in _blocks(texts.offsets, max(1, _BLOCK_CELLS // n_latents)):
        begin, end = int(texts.offsets[first]), int(texts.offsets[last])
        values, latents = _codes(sae, _float32(texts.states[begin:end]), max(ks))
        tokens = torch.from_numpy(np.diff(texts.offsets[first : last + 1]))
        cells = torch.arange(last - first).repeat_interleave(tokens)[:, None] * n_latents + latents  # [tokens, k]
        for part, k in zip(parts, ks):
            pooled = torch.zeros((last - first) * n_latents)
            pooled.scatter_reduce_(0, cells[:, :k].flatten(), values[:, :k].flatten(), "amax")
            part.append(_sparse(pooled.view(-1, n_latents).sqrt_()))
    return [SparseRows.concatenate(part) for part in parts]


def _codes(sae: SparseAutoencoder, states: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Each token's k largest latents, largest first, and their numbers: float32 and int64 [tokens, k]."""
    pre_bias = sae.b_dec if sae.apply_b_dec_to_input else torch.zeros_like(sae.b_dec)
    codes = encode_topk(states, pre_bias, sae.W_enc, sae.b_enc, k, bfloat16=fast_bfloat16("cpu"))
    return codes.values, codes.latents.long()


def _trained_k(sae: SparseAutoencoder) -> int:
    assert isinstance(sae.activation, TopK)
    return sae.activation.k


def _blocks(offsets: NDArray[np.int64], most_texts: int) -> Iterator[tuple[int, int]]:
    """(first, last) of consecutive texts of about 8,192 tokens, at least one text each."""
    first, texts = 0, len(offsets) - 1
    while first < texts:
        last = int(np.searchsorted(offsets, offsets[first] + _BLOCK_TOKENS, "right")) - 1
        last = min(max(last, first + 1), first + most_texts, texts)
        yield first, last
        first = last


def _sparse(dense: Tensor) -> SparseRows:
    rows, latents = dense.nonzero(as_tuple=True)
    indptr = np.concatenate([[0], (dense > 0).sum(1).cumsum(0).numpy()])
    return SparseRows.build(indptr, latents.numpy(), dense[rows, latents].numpy(), dense.shape[1])


def _float32(states: NDArray[np.float16]) -> Tensor:
    return torch.from_numpy(np.array(states)).float()
