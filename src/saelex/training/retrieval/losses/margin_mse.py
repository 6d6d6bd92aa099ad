"""MarginMSE: the student's margins between passages become the teacher's."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from saelex.training.retrieval.losses.loss import Loss, Scored
from saelex.training.retrieval.ranks import mean_over_ranks
from saelex.training.retrieval.scores import exact


@dataclass
class MarginMSE(Loss):
    """`margin_mse` of a batch."""

    name = "margin_mse"
    title = "MarginMSE"
    needs_scores = True

    margin_mse: float = 0.0
    """Squared error of the margins positive - negative against the teacher's."""

    def value(self, step: Scored) -> Tensor:
        """Over each labelled query's own passages."""
        teacher, mask, rows = step.batch.teacher, step.batch.mask, step.batch.labelled
        assert teacher is not None
        return margin_mse(step.own[rows], teacher[rows], mask[rows])


def margin_mse(scores: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Squared error of the margins positive - negative, mean over all pairs of a query and a negative; a scalar.

    Hofstätter et al. 2020 (arXiv 2010.02666) eq. 3: ((s+ - s-) - (t+ - t-))^2.

    scores, teacher: [queries, passages], the positive in column 0. mask: bool of that shape, False where there is no
    such passage. Without any negative the loss is 0.
    """
    error = exact(scores).masked_fill(~mask, 0) - exact(teacher).masked_fill(~mask, 0)  # [queries, passages]
    negatives = mask[:, 1:]
    squares = ((error[:, :1] - error[:, 1:]) ** 2).masked_fill(~negatives, 0)  # [queries, negatives]
    return mean_over_ranks(squares.sum(), negatives.sum())
