"""The head's operations on NVIDIA GPUs."""

from __future__ import annotations

import torch
from torch import Tensor

from saelex.encoder.pooling.operations import HeadOperations


class CudaOperations(HeadOperations):
    """Half-precision products on tensor cores, with float32 sums; the rest is plain PyTorch."""

    def product_dtype(self, hidden: Tensor) -> torch.dtype:
        return hidden.dtype

    def product(self, hidden: Tensor, rows: Tensor) -> Tensor:
        if hidden.dtype in (torch.float32, torch.float64):
            return super().product(hidden, rows)
        return torch.mm(hidden, rows.t(), out_dtype=torch.float32)
