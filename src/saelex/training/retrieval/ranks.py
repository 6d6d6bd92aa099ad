"""Sums and rows of all ranks (processes of one run), with gradients. One process alone talks to nobody.

Why the backward pass is a sum over ranks: DistributedDataParallel and FSDP average the ranks' gradients. Let a loss F
read S = s_1 + ... + s_R, and every rank compute that same F. Each rank must then hand R * dF/dS to its own s_r, so that
the average over ranks, (1/R) * sum_r R * dF/dS * ds_r/dtheta, is dF/dtheta. R * dF/dS is what a sum of dF/dS over
the ranks gives. The same holds for a gather, where a rank's rows also enter the other ranks' losses. A detached gather,
or an all-reduce without a backward pass, keeps only the rank's own share: its gradient is R times too small.

All ranks must call these functions in the same order, and a tensor must need a gradient on all of them or on none,
since the backward pass waits for every rank too.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of ranks; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def share_of(size: int) -> tuple[int, int]:
    """Which of a batch's items are this process': from the first number to before the second."""
    return rank() * size // world_size(), (rank() + 1) * size // world_size()


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Sum of the ranks' tensors, which have one shape and dtype; the gradient is summed over ranks too."""
    if world_size() == 1:
        return tensor
    total: Tensor = _Sum.apply(tensor)
    return total


def mean_over_ranks(total: Tensor, count: Tensor | int) -> Tensor:
    """total / count, each summed over ranks: the mean over everything that all ranks hold, the same value on each.

    total: this rank's sum, any shape. count: how many values went into it; ranks may differ. 0 everywhere gives 0.
    """
    count = torch.as_tensor(count, device=total.device)
    return sum_over_ranks(total) / sum_over_ranks(count).clamp(min=1)


def gather_over_ranks(tensor: Tensor) -> Tensor:
    """Rows of all ranks in rank order, [rows of all ranks, ...]; gradients of a rank's rows come from all ranks.

    tensor: [rows, ...]; ranks may hold different numbers of rows, also none.
    """
    if world_size() == 1:
        return tensor
    counts = [torch.zeros(1, dtype=torch.int64, device=tensor.device) for _ in range(world_size())]
    dist.all_gather(counts, torch.tensor([len(tensor)], device=tensor.device))
    rows: Tensor = _Gather.apply(tensor, [int(count) for count in counts])
    return rows


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Sum.apply(gradient)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, counts: list[int]) -> Tensor:
        ctx.start, ctx.rows = sum(counts[: rank()]), len(tensor)
        padded = tensor.new_zeros((max(counts), *tensor.shape[1:]))  # all_gather wants one shape from all
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        total = _Sum.apply(gradient)
        return total[ctx.start : ctx.start + ctx.rows], None
