"""What ranks a query's passages as a teacher or a label says.

Scores are computed by the caller: [queries, passages], in any floating dtype; here they become at least float32,
whatever autocast says. Every loss is a mean over what all ranks hold together, so that its value is the same on each
rank and its gradient, once averaged over ranks, that of one process with all queries (see `ranks`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from saelex.training.retrieval.ranks import mean_over_ranks


def kl_divergence(
    scores: Tensor, teacher: Tensor, mask: Tensor, temperature: float = 1.0, teacher_temperature: float = 1.0
) -> Tensor:
    """KL(teacher || student) over each query's passages, mean over queries; a scalar.

    SPLARE (arXiv 2603.13277) eq. 3: p = softmax(teacher / teacher_temperature), where the paper leaves the teacher as
    it is, and the student's softmax(scores / temperature). The loss is not multiplied by a squared temperature.

    scores, teacher: [queries, passages]. mask: bool of that shape, False where there is no such passage; every query
    has at least one.
    """
    student = _log_softmax(scores, mask, temperature)
    target = _log_softmax(teacher, mask, teacher_temperature)
    divergence = torch.where(mask, target.exp(), 0) * (target - student)  # [queries, passages]
    return mean_over_ranks(divergence.sum(), len(scores))


def margin_mse(scores: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Squared error of the margins positive - negative, mean over all pairs of a query and a negative; a scalar.

    Hofstätter et al. 2020 (arXiv 2010.02666) eq. 3: ((s+ - s-) - (t+ - t-))^2.

    scores, teacher: [queries, passages], the positive in column 0. mask: bool of that shape, False where there is no
    such passage. Without any negative the loss is 0.
    """
    error = _exact(scores).masked_fill(~mask, 0) - _exact(teacher).masked_fill(~mask, 0)  # [queries, passages]
    negatives = mask[:, 1:]
    squares = ((error[:, :1] - error[:, 1:]) ** 2).masked_fill(~negatives, 0)  # [queries, negatives]
    return mean_over_ranks(squares.sum(), negatives.sum())


def info_nce(scores: Tensor, positive: Tensor, allowed: Tensor, temperature: float = 1.0) -> Tensor:
    """Cross-entropy of each query's positive among its allowed passages, mean over queries; a scalar.

    van den Oord et al. 2018 (arXiv 1807.03748) eq. 4 with scores / temperature as log f.

    scores: [queries, all passages]. positive: int64 [queries], the column of each query's positive. allowed: bool
    [queries, all passages], False where a passage must not count as this query's negative; True at its positive.
    """
    log_shares = _log_softmax(scores, allowed, temperature)  # [queries, all passages]
    return mean_over_ranks(-log_shares.gather(1, positive[:, None]).sum(), len(scores))


def _log_softmax(scores: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """Over the columns that exist; 0 in the others, so that no infinity meets a zero."""
    scores = _exact(scores).masked_fill(~mask, -torch.inf) / temperature
    return scores.log_softmax(dim=1).masked_fill(~mask, 0)


def _exact(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
