"""KL divergence over a whole batch: latents learn what dense embeddings say of every query and every passage."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from saelex.errors import InputError
from saelex.training.retrieval import ranks
from saelex.training.retrieval.dense_teachers import Embedded
from saelex.training.retrieval.losses.loss import Loss, Scored, Setup
from saelex.training.retrieval.scores import exact, over_ranks


@dataclass
class EmbeddingKL(Loss):
    """`row_divergence` of a batch's queries, and of its passages."""

    name = "embedding_kl"
    title = "embedding KL"
    needs_embeddings = True
    temperature_setting = "embedding_temperature"
    positive_settings = ("embedding_temperature",)

    embedding_kl: float = 0.0
    """KL(teacher || student) over all passages of the batch, of all processes, where data.teachers' embeddings are the
    teacher. Labels are not read: it learns from every query, and knows no false negatives."""
    embedding_temperature: float = 1.0
    """The student's scores are divided by it; the teachers' have their own in data.teachers."""
    embedding_both: bool = False
    """Whether each passage's distribution over all queries counts as much as each query's over all passages."""

    def __str__(self) -> str:
        both = ", both directions" if self.embedding_both else ""
        return f"{self.title} (temperature {self.embedding_temperature:g}{both})"

    @property
    def gathers_passages(self) -> bool:
        """A query meets the passages of all processes."""
        return True

    def value(self, step: Scored) -> Tensor:
        """Over all queries and passages, labelled or not."""
        every, teachers = over_ranks(step.queries, step.passages, step.scores), step.batch.embedded
        target = target_shares(teachers, every.of_queries.dtype)
        value = row_divergence(every.of_queries, target, self.embedding_temperature)
        if self.embedding_both:
            swapped = [one._replace(queries=one.passages, passages=one.queries) for one in teachers]
            target = target_shares(swapped, every.of_passages.dtype)
            value = (value + row_divergence(every.of_passages, target, self.embedding_temperature)) / 2
        return value

    def check(self, setup: Setup) -> None:
        """It needs teachers, and with words the scores of all passages, which one process alone has."""
        if not setup.data.teachers:
            raise InputError("loss.embedding_kl has no teacher: name dense models as data.teachers")
        if setup.word_scale and setup.processes > 1:
            raise InputError("loss.word_scale with loss.embedding_kl works in one process; drop one of the two")


def target_shares(teachers: list[Embedded] | tuple[Embedded, ...], dtype: torch.dtype) -> Tensor:
    """The weighted mean of the teachers' distributions, softmax(cosine / temperature); [queries, all passages].

    A mean of distributions, not of scores: the cosines of two models have no common scale.
    """
    shares = [
        one.weight
        * (one.queries.to(dtype) @ ranks.gather_over_ranks(one.passages).to(dtype).t() / one.temperature).softmax(1)
        for one in teachers
    ]
    return torch.stack(shares).sum(0) / sum(one.weight for one in teachers)


def row_divergence(scores: Tensor, target: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(target || softmax(scores / temperature)) of each row, mean over the rows of all processes; a scalar.

    scores: [rows, all columns]. target: of that shape; its rows sum to 1.
    """
    student = (exact(scores) / temperature).log_softmax(1)
    divergence = torch.special.xlogy(target, target) - target * student  # [rows, all columns]
    return ranks.mean_over_ranks(divergence.sum(), len(scores))
