"""Scores as losses take them: in any floating dtype, at least float32 from here on; over all processes, if need be."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from saelex.training.retrieval import ranks


def log_softmax(scores: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """Over the columns that exist; 0 in the others, so that no infinity meets a zero; [queries, passages]."""
    scores = exact(scores).masked_fill(~mask, -torch.inf) / temperature
    return scores.log_softmax(dim=1).masked_fill(~mask, 0)


def exact(tensor: Tensor) -> Tensor:
    """As float64, or else as float32."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


class AllScores(NamedTuple):
    """Scores of what this process holds with what all processes hold, in rank order, with gradients."""

    of_queries: Tensor  # [queries, all passages]
    of_passages: Tensor  # [passages, all queries]
    first_passage: Tensor | int  # where this process' passages begin among all


def over_ranks(queries: Tensor, passages: Tensor, scores: Tensor) -> AllScores:
    """Vectors [queries, latents] and [passages, latents] of this process, and their scores [queries, passages]."""
    if ranks.world_size() == 1:
        return AllScores(scores, scores.t(), 0)
    own = torch.tensor([[len(queries), len(passages)]], device=queries.device)
    sizes = ranks.gather_over_ranks(own)  # [ranks, 2]
    before = sizes[: ranks.rank()].sum(0)
    # every process scores all queries against its own passages: vectors of queries travel, and scores
    own_columns = ranks.gather_over_ranks(queries) @ passages.t()  # [all queries, passages]
    every = ranks.gather_over_ranks(own_columns.t()).t()  # [all queries, all passages]
    return AllScores(every[before[0] : before[0] + len(queries)], own_columns.t(), before[1])
