"""What a head asks of a device, in plain PyTorch; a device's own file overrides what it does faster.

A [tokens, latents] tensor never exists: the product with the weight is taken a block of latents at a time, small enough
to stay in a cache until it is reduced. In the backward only the entries of the pooled vectors that are not zero have a
gradient: its cost follows them, not tokens x latents.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from saelex.encoder.pooling.packed import accumulation_dtype, sequence_of_token

_FEWEST_LATENTS = 256
_WIDENED = 4  # numbers of a half-precision weight that are widened at a time, per entry of a block
_ENTRIES_AT_A_TIME = 2**14


class Entries(NamedTuple):
    """Entries of the gradient with respect to the raw products hidden . weight; each [entries]."""

    tokens: Tensor  # int64, rows of hidden
    latents: Tensor  # int64, rows of weight
    values: Tensor  # accumulation dtype


class ActiveLatents(NamedTuple):
    """The active latents of every sequence, as compressed rows."""

    indptr: Tensor  # int64 [sequences + 1]
    latents: Tensor  # int32 [entries], ascending inside a sequence
    values: Tensor  # accumulation dtype [entries]
    tokens: Tensor  # int32 [entries], counted from the sequence's first token


class HeadOperations:
    """The head's operations in plain PyTorch, for every device that has no file of its own.

    hidden: [tokens, d_model], transformed already; weight: [latents, d_model]; of any floating dtypes. offsets: whole
    numbers [sequences + 1], where each sequence's tokens begin. Sums are in the accumulation dtype.
    """

    block_entries = 2**25
    """Entries of one block of products: 128 MiB of float32, on a GPU."""

    # ---- forward ----------------------------------------------------------------------------------------------------

    def latent_blocks(self, hidden: Tensor, weight: Tensor) -> Iterator[tuple[int, int, Tensor]]:
        """(start, stop, hidden @ weight[start:stop].T), the block [tokens, stop - start] in the accumulation dtype.

        A block is the caller's to overwrite.
        """
        hidden = hidden.to(self.product_dtype(hidden))
        latents = self.block_entries // max(len(hidden), 1)
        if weight.dtype != hidden.dtype:  # a query has few tokens, and its block would be most of the weight
            latents = min(latents, _WIDENED * self.block_entries // max(hidden.shape[1], 1))
        step = max(latents // _FEWEST_LATENTS, 1) * _FEWEST_LATENTS
        for start in range(0, len(weight), step):
            rows = weight[start : start + step]
            yield start, start + len(rows), self.product(hidden, rows.to(hidden.dtype))

    def product_dtype(self, hidden: Tensor) -> torch.dtype:
        """The dtype that `product` reads."""
        return accumulation_dtype(hidden)

    def product(self, hidden: Tensor, rows: Tensor) -> Tensor:
        """hidden @ rows.T, [tokens, rows], in the accumulation dtype; both in the `product_dtype`."""
        return torch.mm(hidden, rows.t())

    def linear_max(self, hidden: Tensor, weight: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """The largest product of every latent over each sequence's tokens, and its token (see `segment_max`)."""
        shape = (len(offsets) - 1, len(weight))
        maxima = torch.empty(shape, dtype=accumulation_dtype(hidden), device=hidden.device)
        tokens = torch.empty(shape, dtype=torch.int32, device=hidden.device)
        for start, _, block in self.latent_blocks(hidden, weight):
            self.segment_max(block, offsets, maxima, tokens, start)
        return maxima, tokens

    def segment_max(self, block: Tensor, offsets: Tensor, maxima: Tensor, tokens: Tensor, start: int) -> None:
        """Writes the maxima of block [tokens, width] over each sequence into columns start:start + width.

        maxima: [sequences, latents] in block's dtype; tokens: int32 [sequences, latents], counted from the sequence's
        first token. A sequence without tokens gets -inf and -1. NaN wins over every number, so that a broken hidden
        state shows in the result instead of vanishing.
        """
        sequence = sequence_of_token(offsets)
        width = block.shape[1]
        cells = sequence[:, None].expand_as(block)  # [tokens, width]
        best = block.new_full((len(maxima), width), -torch.inf).scatter_reduce_(0, cells, block, "amax")
        here = torch.arange(len(block), device=block.device) - offsets[sequence]  # [tokens]
        none = torch.iinfo(torch.int32).max
        candidates = torch.where(block < best[sequence], none, here.int()[:, None])  # [tokens, width]
        where = torch.full_like(best, none, dtype=torch.int32).scatter_reduce_(0, cells, candidates, "amin")
        maxima[:, start : start + width] = best
        tokens[:, start : start + width] = torch.where(where == none, -1, where)

    def segment_sum(self, block: Tensor, offsets: Tensor, total: Tensor, start: int) -> None:
        """Writes the sums of block [tokens, width] over each sequence into columns start:start + width of total."""
        columns = slice(start, start + block.shape[1])
        total[:, columns] = block.new_zeros(len(total), block.shape[1]).index_add_(0, sequence_of_token(offsets), block)

    def token_topk(
        self, hidden: Tensor, weight: Tensor, bias: Tensor, scale: Tensor | None, k: int
    ) -> tuple[Tensor, Tensor]:
        """The k largest pre-activations of each token, largest first, and their latents; [tokens, k] both.

        pre = scale * (hidden . weight + bias), with bias and scale [latents] in the accumulation dtype or below.
        """
        dtype = accumulation_dtype(hidden)
        bias = bias.to(dtype)
        scale = torch.ones_like(bias) if scale is None else scale.to(dtype)
        values = hidden.new_full((len(hidden), k), -torch.inf, dtype=dtype)
        latents = torch.zeros(len(hidden), k, dtype=torch.int64, device=hidden.device)
        for start, stop, block in self.latent_blocks(hidden, weight):
            self.keep_largest(block, bias[start:stop], scale[start:stop], values, latents, start)
        return values, latents

    def keep_largest(
        self, block: Tensor, bias: Tensor, scale: Tensor, values: Tensor, latents: Tensor, start: int
    ) -> None:
        """Merges scale * (block + bias), the latents from start on, into the best so far; block may be overwritten."""
        block.add_(bias).mul_(scale)
        here = torch.arange(start, start + block.shape[1], device=block.device)
        all_values = torch.cat([values, block], dim=1)  # [tokens, k + width]
        all_latents = torch.cat([latents, here.expand(len(block), -1)], dim=1)
        best, places = all_values.topk(values.shape[1], dim=1)
        values.copy_(best)
        latents.copy_(all_latents.gather(1, places))

    def strongest(self, values: Tensor, latents: Tensor, offsets: Tensor, n_latents: int) -> Tensor:
        """Where each sequence's active latents are strongest: int64 places in values.flatten(), by sequence and latent.

        values, latents: [tokens, k], of `token_topk`. Active is what is positive, or NaN, which wins over every number.
        """
        sequence = sequence_of_token(offsets)
        active = (~(values <= 0)).flatten().nonzero().squeeze(1)  # [entries], by token
        cells = (sequence[:, None] * n_latents + latents).flatten()[active]
        entries = values.flatten()[active]
        largest = values.new_full(((len(offsets) - 1) * n_latents,), -torch.inf)
        largest.scatter_reduce_(0, cells, entries, "amax")
        candidates = ((entries == largest[cells]) | entries.isnan()).nonzero().squeeze(1)
        first = torch.full_like(largest, len(cells), dtype=torch.int64)
        first.scatter_reduce_(0, cells[candidates], candidates, "amin")
        return active[first[first < len(cells)]]

    def active(self, values: Tensor, tokens: Tensor, floor: Tensor) -> ActiveLatents:
        """The entries of values, with their tokens [sequences, latents] both, above the floor [latents] or [1]; NaN."""
        above = ~(values <= floor)
        sequence, latents = above.nonzero(as_tuple=True)
        indptr = torch.nn.functional.pad(above.sum(1).cumsum(0), (1, 0))
        return ActiveLatents(indptr, latents.int(), values[sequence, latents], tokens[sequence, latents])

    # ---- backward ---------------------------------------------------------------------------------------------------

    def hidden_gradient(self, entries: Entries, hidden: Tensor, weight: Tensor) -> Tensor:
        """Gradient of hidden [tokens, d_model]: the sum of value * weight[latent] over each token's entries."""
        total = torch.zeros(hidden.shape, dtype=entries.values.dtype, device=hidden.device)
        self.add_rows(total, entries.tokens, weight, entries.latents, entries.values)
        return total.to(hidden.dtype)

    def weight_gradient(self, entries: Entries, hidden: Tensor, weight: Tensor) -> Tensor:
        """Dense gradient of weight [latents, d_model], of which only the rows of active latents are written."""
        total = self.zeros_like(weight)
        if weight.dtype == entries.values.dtype:
            self.add_rows(total, entries.latents, hidden, entries.tokens, entries.values)
            return total
        # half precision: accumulate the rows that occur in float32, round once
        latents, rows = entries.latents.unique(return_inverse=True)
        sums = entries.values.new_zeros(len(latents), weight.shape[1])
        self.add_rows(sums, rows, hidden, entries.tokens, entries.values)
        total[latents] = sums.to(weight.dtype)
        return total

    def add_rows(self, total: Tensor, into: Tensor, source: Tensor, rows: Tensor, values: Tensor) -> None:
        """total[into[i]] += values[i] * source[rows[i]] for every i."""
        pieces = (into.split(_ENTRIES_AT_A_TIME), rows.split(_ENTRIES_AT_A_TIME), values.split(_ENTRIES_AT_A_TIME))
        for some_into, some_rows, some_values in zip(*pieces):
            total.index_add_(0, some_into, source[some_rows].to(total.dtype) * some_values[:, None])

    def zeros_like(self, matrix: Tensor) -> Tensor:
        """Zeros in matrix's shape and dtype, of which few rows will be written."""
        return torch.zeros_like(matrix)
