"""The head's operations on CPUs: oneDNN's products, and compiled loops for what PyTorch does slowly."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from saelex.encoder import kernels
from saelex.encoder.onednn import linear
from saelex.encoder.pooling.operations import ActiveLatents, HeadOperations

_NUMPY_DTYPES = {torch.float32: np.float32, torch.float64: np.float64}


class CpuOperations(HeadOperations):
    """Equal values are taken in the order of their latents (ties: see `saelex.selection`)."""

    block_entries = 2**20  # 4 MiB of float32, a share of the last-level cache

    def product(self, hidden: Tensor, rows: Tensor) -> Tensor:
        return linear(hidden, rows)

    def segment_max(self, block: Tensor, offsets: Tensor, maxima: Tensor, tokens: Tensor, start: int) -> None:
        kernels.segment_max(block.numpy(), offsets.numpy(), maxima.numpy(), tokens.numpy(), start)

    def segment_sum(self, block: Tensor, offsets: Tensor, total: Tensor, start: int) -> None:
        kernels.segment_sum(block.numpy(), offsets.numpy(), total.numpy(), start)

    def keep_largest(
        self, block: Tensor, bias: Tensor, scale: Tensor, values: Tensor, latents: Tensor, start: int
    ) -> None:
        kernels.keep_largest(block.numpy(), bias.numpy(), scale.numpy(), values.numpy(), latents.numpy(), start)

    def strongest(self, values: Tensor, latents: Tensor, offsets: Tensor, n_latents: int) -> Tensor:
        return torch.from_numpy(kernels.strongest(values.numpy(), latents.numpy(), offsets.numpy(), n_latents))

    def active(self, values: Tensor, tokens: Tensor, floor: Tensor) -> ActiveLatents:
        whole = floor.to(values.dtype).expand(values.shape[1]).contiguous()
        return ActiveLatents(*map(torch.from_numpy, kernels.active(values.numpy(), tokens.numpy(), whole.numpy())))

    def add_rows(self, total: Tensor, into: Tensor, source: Tensor, rows: Tensor, values: Tensor) -> None:
        if source.dtype not in _NUMPY_DTYPES:
            super().add_rows(total, into, source, rows, values)
            return
        arrays = (total, into, source.contiguous(), rows, values)
        kernels.add_scaled_rows(*(array.detach().numpy() for array in arrays))

    def zeros_like(self, matrix: Tensor) -> Tensor:
        """By calloc, which leaves the zeroing to the system, page by page at the first write."""
        if matrix.dtype not in _NUMPY_DTYPES:
            return super().zeros_like(matrix)
        return torch.from_numpy(np.zeros(matrix.shape, _NUMPY_DTYPES[matrix.dtype]))
