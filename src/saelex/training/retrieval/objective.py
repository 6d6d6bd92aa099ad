"""What a step minimises: the losses in use and the sparsity term, of a whole batch's vectors at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from saelex.errors import MismatchError
from saelex.training.retrieval.activity import Activity, measure
from saelex.training.retrieval.batch import RetrievalBatch
from saelex.training.retrieval.decoder import Reconstruction
from saelex.training.retrieval.losses.loss import Scored
from saelex.training.retrieval.recipe import LossRecipe, SparsityRecipe
from saelex.training.retrieval.schedules import TargetSparsity, ramp
from saelex.training.retrieval.scores import exact


class Outcome(NamedTuple):
    """A step's loss, its parts for the log, and what the vectors look like."""

    loss: Tensor
    parts: dict[str, float]
    queries: Activity
    passages: Activity


class Objective:
    """The losses in use and the sparsity term; holds what lives from step to step: their memory, steered lambdas."""

    def __init__(self, loss: LossRecipe, sparsity: SparsityRecipe, n_latents: int) -> None:
        self.losses = loss.terms
        self.sparsity = sparsity
        self.regulariser = sparsity.regulariser
        for term in (*self.losses, self.regulariser):
            term.begin(n_latents)
        self._query_lambda = _steered(sparsity.target_query, sparsity.query)
        self._passage_lambda = _steered(sparsity.target_document, sparsity.document)

    def __call__(
        self,
        queries: Tensor,
        passages: Tensor,
        batch: RetrievalBatch,
        step: int,
        reconstruction: Reconstruction | None = None,
    ) -> Outcome:
        """queries: [queries, latents]; passages: [passages, latents], both of this process. step: from 0."""
        with torch.autocast(queries.device.type, enabled=False):
            queries, passages = exact(queries), exact(passages)
            scored = _scored(queries, passages, batch, reconstruction)
            parts = {loss.name: loss.weight * loss.value(scored) for loss in self.losses}
            of_queries, of_passages = measure(queries.detach()), measure(passages.detach())
            share = ramp(self.sparsity.ramp, step, self.sparsity.ramp_steps)
            lambdas = (
                self._lambda(self._query_lambda, self.sparsity.query, of_queries, share),
                self._lambda(self._passage_lambda, self.sparsity.document, of_passages, share),
            )
            self.regulariser.update(passages.detach())
            terms = self.regulariser.value(queries), self.regulariser.value(passages)
            loss = sum(parts.values(), start=lambdas[0] * terms[0] + lambdas[1] * terms[1])
        logged = {name: float(part.detach()) for name, part in parts.items()}
        logged |= {"flops_query": float(terms[0].detach()), "flops_document": float(terms[1].detach())}
        logged |= {"lambda_query": lambdas[0], "lambda_document": lambdas[1]}
        logged |= {"active_query": of_queries.active, "active_document": of_passages.active}
        return Outcome(loss, logged, of_queries, of_passages)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs; JSON values and tensors."""
        return {name: state for name, part in self._parts().items() if (state := part.state_dict())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From `state_dict` of an objective of the same recipe. Raises MismatchError for that of another."""
        if state.keys() != self.state_dict().keys():
            stored, ours = (", ".join(names) or "nothing" for names in (state, self.state_dict()))
            raise MismatchError(
                f"the checkpoint keeps the state of {stored}, this run that of {ours}: it is of another recipe or "
                "version of saelex; start over with --no-resume"
            )
        for name, part in self._parts().items():
            if name in state:
                part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        """What may have a state, by its name in checkpoints."""
        parts: dict[str, Any] = {f"loss.{loss.name}": loss for loss in self.losses}
        parts[f"sparsity.{self.regulariser.name}"] = self.regulariser
        steered = {"query": self._query_lambda, "document": self._passage_lambda}
        return parts | {name: part for name, part in steered.items() if part is not None}

    @staticmethod
    def _lambda(steered: TargetSparsity | None, fixed: float, activity: Activity, share: float) -> float:
        if steered is None:
            return share * fixed
        if share == 1:  # before, the number of active latents does not answer to lambda yet
            steered.update(activity.active)
        return share * steered.value


def _scored(queries: Tensor, passages: Tensor, batch: RetrievalBatch, reconstruction: Reconstruction | None) -> Scored:
    scores = queries @ passages.t()  # [queries, passages]
    if batch.words is not None:
        scores = scores + batch.words
    return Scored(queries, passages, scores, scores.gather(1, batch.columns), batch, reconstruction)


def _steered(target: float | None, start: float) -> TargetSparsity | None:
    return None if target is None else TargetSparsity(target, start)
