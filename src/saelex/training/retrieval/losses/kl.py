"""KL divergence: the student's distribution over a query's passages becomes the teacher's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from saelex.training.retrieval.losses.loss import Loss, Scored
from saelex.training.retrieval.ranks import mean_over_ranks
from saelex.training.retrieval.scores import log_softmax


@dataclass
class KL(Loss):
    """`kl_divergence` of a batch."""

    name = "kl"
    title = "KL"
    needs_scores = True
    temperature_setting = "temperature"
    positive_settings = ("temperature", "teacher_temperature")

    kl: float = 1.0
    """KL(teacher || student) over a query's passages (SPLARE eq. 3)."""
    temperature: float = 1.0
    """The student's scores are divided by it in KL; it goes with the SAE's scale (SPLARE: 80 Llama Scope, 50 Gemma)."""
    teacher_temperature: float = 1.0
    """The teacher's scores are divided by it; 1 in both papers."""

    def __str__(self) -> str:
        teacher = "" if self.teacher_temperature == 1 else f", teacher's {self.teacher_temperature:g}"
        return f"KL (temperature {self.temperature:g}{teacher})"

    def value(self, step: Scored) -> Tensor:
        """Over each labelled query's own passages."""
        teacher, mask, rows = step.batch.teacher, step.batch.mask, step.batch.labelled
        assert teacher is not None
        return kl_divergence(step.own[rows], teacher[rows], mask[rows], self.temperature, self.teacher_temperature)


def kl_divergence(
    scores: Tensor, teacher: Tensor, mask: Tensor, temperature: float = 1.0, teacher_temperature: float = 1.0
) -> Tensor:
    """KL(teacher || student) over each query's passages, mean over queries; a scalar.

    SPLARE (arXiv 2603.13277) eq. 3: p = softmax(teacher / teacher_temperature), where the paper leaves the teacher as
    it is, and the student's softmax(scores / temperature). The loss is not multiplied by a squared temperature.

    scores, teacher: [queries, passages]. mask: bool of that shape, False where there is no such passage; every query
    has at least one.
    """
    student = log_softmax(scores, mask, temperature)
    target = log_softmax(teacher, mask, teacher_temperature)
    divergence = torch.where(mask, target.exp(), 0) * (target - student)  # [queries, passages]
    return mean_over_ranks(divergence.sum(), len(scores))
