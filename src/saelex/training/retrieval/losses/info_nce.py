"""InfoNCE: a query's positive wins against its negatives and, if wanted, all other passages of the batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from saelex.errors import InputError
from saelex.training.retrieval import ranks
from saelex.training.retrieval.losses.loss import Loss, Scored, Setup
from saelex.training.retrieval.scores import log_softmax, over_ranks


@dataclass
class InfoNCE(Loss):
    """`info_nce` of a batch."""

    name = "info_nce"
    title = "InfoNCE"
    temperature_setting = "info_nce_temperature"
    positive_settings = ("info_nce_temperature",)

    info_nce: float = 0.0
    """Contrastive: the positive against the query's negatives and, if wanted, every other passage of the batch."""
    info_nce_temperature: float = 1.0
    """The student's scores are divided by it in InfoNCE."""
    in_batch: bool = True
    """Whether InfoNCE takes the other queries' passages, of all processes, as negatives too."""

    def __str__(self) -> str:
        return f"InfoNCE (temperature {self.info_nce_temperature:g}{', in-batch' * self.in_batch})"

    @property
    def gathers_passages(self) -> bool:
        """In-batch negatives are those of all processes."""
        return self.in_batch

    def value(self, step: Scored) -> Tensor:
        """Over a labelled query's own passages, or over those of all processes that are not known to answer it."""
        batch, rows = step.batch, step.batch.labelled
        if not self.in_batch:
            own = step.own[rows]
            positive = torch.zeros(len(own), dtype=torch.int64, device=own.device)
            return info_nce(own, positive, batch.mask[rows], self.info_nce_temperature)
        every = over_ranks(step.queries, step.passages, step.scores)
        keys = ranks.gather_over_ranks(batch.keys)  # [all passages]
        positive = every.first_passage + batch.columns[rows, 0]
        allowed = ~(keys[None, :, None] == batch.relevant[rows][:, None, :]).any(-1)  # [labelled, all passages]
        allowed[torch.arange(len(positive)), positive] = True
        return info_nce(every.of_queries[rows], positive, allowed, self.info_nce_temperature)

    def check(self, setup: Setup) -> None:
        """It needs negatives, and with words the scores of all passages, which one process alone has."""
        if setup.data.negatives == 0 and not self.in_batch:
            raise InputError("loss.info_nce has no negatives: raise data.negatives or set loss.in_batch")
        if setup.word_scale and self.in_batch and setup.processes > 1:
            raise InputError("loss.word_scale with in-batch negatives works in one process; set loss.in_batch to false")


def info_nce(scores: Tensor, positive: Tensor, allowed: Tensor, temperature: float = 1.0) -> Tensor:
    """Cross-entropy of each query's positive among its allowed passages, mean over queries; a scalar.

    van den Oord et al. 2018 (arXiv 1807.03748) eq. 4 with scores / temperature as log f.

    scores: [queries, all passages]. positive: int64 [queries], the column of each query's positive. allowed: bool
    [queries, all passages], False where a passage must not count as this query's negative; True at its positive.
    """
    log_shares = log_softmax(scores, allowed, temperature)  # [queries, all passages]
    return ranks.mean_over_ranks(-log_shares.gather(1, positive[:, None]).sum(), len(scores))
