"""The matrix product of a head, a block of latents at a time, small enough to stay in the cache until it is reduced."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from saelex.encoder.onednn import linear

# entries of one block: 4 MiB of float32 on a CPU (a share of the last-level cache), 128 MiB on a GPU
_CPU_BLOCK = 2**20
_GPU_BLOCK = 2**25
_FEWEST_LATENTS = 256
_WIDENED = 4  # numbers of a half-precision weight that are widened at a time, per entry of a block


def accumulation_dtype(hidden: Tensor) -> torch.dtype:
    """float64 for float64 input, else float32."""
    return torch.promote_types(hidden.dtype, torch.float32)


def latent_blocks(hidden: Tensor, weight: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """(start, stop, hidden @ weight[start:stop].T), the block [tokens, stop - start] in the accumulation dtype.

    hidden: [tokens, d_model]; weight: [latents, d_model]; of any floating dtypes. A block is the caller's to overwrite.
    """
    entries = _CPU_BLOCK if hidden.device.type == "cpu" else _GPU_BLOCK
    if hidden.device.type == "cpu":
        hidden = hidden.to(accumulation_dtype(hidden))
    latents = entries // max(len(hidden), 1)
    if weight.dtype != hidden.dtype:  # a query has few tokens, and its block would be most of the weight
        latents = min(latents, _WIDENED * entries // max(hidden.shape[1], 1))
    step = max(latents // _FEWEST_LATENTS, 1) * _FEWEST_LATENTS
    for start in range(0, len(weight), step):
        rows = weight[start : start + step]
        yield start, start + len(rows), _product(hidden, rows.to(hidden.dtype))


def _product(hidden: Tensor, rows: Tensor) -> Tensor:
    if hidden.device.type != "cpu":
        if hidden.dtype in (torch.float32, torch.float64):
            return torch.mm(hidden, rows.t())
        return torch.mm(hidden, rows.t(), out_dtype=torch.float32)  # half-precision tensor cores, float32 sums
    return linear(hidden, rows)
