"""KL divergence over a whole batch: latents learn what dense embeddings say of every query and every passage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
    embedding_temperature: float | None = None
    """The student's scores are divided by it; the teachers' have their own in data.teachers. null: by the one at which
    the first step's divergence is least, so that the scale which the head has by itself costs nothing."""
    embedding_both: bool = False
    """Whether each passage's distribution over all queries counts as much as each query's over all passages."""

    def __str__(self) -> str:
        temperature = "fitted" if self.embedding_temperature is None else f"{self.embedding_temperature:g}"
        return f"{self.title} (temperature {temperature}{', both directions' if self.embedding_both else ''})"

    @property
    def gathers_passages(self) -> bool:
        """A query meets the passages of all processes."""
        return True

    def begin(self, n_latents: int) -> None:
        """No temperature fitted yet."""
        self._fitted: float | None = None

    def value(self, step: Scored) -> Tensor:
        """Over all queries and passages, labelled or not."""
        every, teachers = over_ranks(step.queries, step.passages, step.scores), step.batch.embedded
        sides = [(every.of_queries, target_shares(teachers, every.of_queries.dtype))]
        if self.embedding_both:
            swapped = [one._replace(queries=one.passages, passages=one.queries) for one in teachers]
            sides.append((every.of_passages, target_shares(swapped, every.of_passages.dtype)))
        temperature = self.embedding_temperature or self._fitted
        if temperature is None:
            temperature = self._fitted = best_temperature(sides)
        return _mean_divergence(sides, temperature)

    def check(self, setup: Setup) -> None:
        """It needs teachers, and with words the scores of all passages, which one process alone has."""
        if not setup.data.teachers:
            raise InputError("loss.embedding_kl has no teacher: name dense models as data.teachers")
        if setup.word_scale and setup.processes > 1:
            raise InputError("loss.word_scale with loss.embedding_kl works in one process; drop one of the two")

    def state_dict(self) -> dict[str, Any]:
        """The temperature of the first step, where it is fitted."""
        return {} if self.embedding_temperature is not None else {"temperature": self._fitted}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """A resumed run does not fit again: its scores have become others."""
        self._fitted = state["temperature"]


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


def best_temperature(sides: list[tuple[Tensor, Tensor]]) -> float:
    """The temperature, to 5 %, at which the mean `row_divergence` of scores and target is least, the same on all ranks.

    sides: scores and target, each [rows, all columns]. Searched from 1/100 of the scores' deviation within a row to 100
    times it, on a logarithmic scale, where the divergence has one minimum.
    """
    with torch.no_grad():
        spread = float(torch.stack([_row_deviation(scores) for scores, _ in sides]).mean())
        if not spread > 0:  # nothing to scale
            return 1.0
        candidates = [spread * float(100 ** (step / 95)) for step in range(-95, 96)]
        return min(candidates, key=lambda one: float(_mean_divergence(sides, one)))


def _row_deviation(scores: Tensor) -> Tensor:
    """Root of the mean variance within a row, of the rows of all processes; a scalar."""
    variance: Tensor = scores.var(1, correction=0)  # [rows]
    return ranks.mean_over_ranks(variance.sum(), len(scores)).sqrt()


def _mean_divergence(sides: list[tuple[Tensor, Tensor]], temperature: float) -> Tensor:
    return torch.stack([row_divergence(scores, target, temperature) for scores, target in sides]).mean()


def row_divergence(scores: Tensor, target: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(target || softmax(scores / temperature)) of each row, mean over the rows of all processes; a scalar.

    scores: [rows, all columns]. target: of that shape; its rows sum to 1.
    """
    student = (exact(scores) / temperature).log_softmax(1)
    divergence = torch.special.xlogy(target, target) - target * student  # [rows, all columns]
    return ranks.mean_over_ranks(divergence.sum(), len(scores))
