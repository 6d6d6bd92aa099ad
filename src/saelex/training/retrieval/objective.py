"""What a step minimises: distillation, margins, contrast, and sparsity, of a whole batch's vectors at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from saelex.errors import InputError
from saelex.training.retrieval import losses, ranks
from saelex.training.retrieval.activity import Activity, measure
from saelex.training.retrieval.batch import RetrievalBatch
from saelex.training.retrieval.recipe import LossRecipe, SparsityRecipe
from saelex.training.retrieval.reconstruction import Reconstruction, unexplained
from saelex.training.retrieval.regularisers import DocumentFrequencies, df_flops, flops
from saelex.training.retrieval.schedules import TargetSparsity, ramp


class Outcome(NamedTuple):
    """A step's loss, its parts for the log, and what the vectors look like."""

    loss: Tensor
    parts: dict[str, float]
    queries: Activity
    passages: Activity


class Objective:
    """Loss and sparsity term; holds what lives from step to step: document frequencies, steered lambdas.

    Raises InputError for InfoNCE over the passages of several processes together with words, whose scores of other
    processes' passages nobody has.
    """

    def __init__(self, loss: LossRecipe, sparsity: SparsityRecipe, n_latents: int) -> None:
        if loss.word_scale and loss.info_nce and loss.in_batch and ranks.world_size() > 1:
            raise InputError("loss.word_scale with in-batch negatives works in one process; set loss.in_batch to false")
        self.loss = loss
        self.sparsity = sparsity
        self._query_lambda = _steered(sparsity.target_query, sparsity.query)
        self._passage_lambda = _steered(sparsity.target_document, sparsity.document)
        self._frequencies = DocumentFrequencies(n_latents) if sparsity.kind == "df_flops" else None

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
            queries, passages = _at_least_float32(queries), _at_least_float32(passages)
            parts = self._retrieval(queries, passages, batch)
            if reconstruction is not None:
                parts["reconstruction"] = self.loss.reconstruction * unexplained(reconstruction)
            of_queries, of_passages = measure(queries.detach()), measure(passages.detach())
            share = ramp(self.sparsity.ramp, step, self.sparsity.ramp_steps)
            lambdas = (
                self._lambda(self._query_lambda, self.sparsity.query, of_queries, share),
                self._lambda(self._passage_lambda, self.sparsity.document, of_passages, share),
            )
            terms = self._flops(queries, passages)
            loss = sum(parts.values(), start=lambdas[0] * terms[0] + lambdas[1] * terms[1])
        logged = {name: float(part.detach()) for name, part in parts.items()}
        logged |= {"flops_query": float(terms[0].detach()), "flops_document": float(terms[1].detach())}
        logged |= {"lambda_query": lambdas[0], "lambda_document": lambdas[1]}
        logged |= {"active_query": of_queries.active, "active_document": of_passages.active}
        return Outcome(loss, logged, of_queries, of_passages)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs; JSON values and tensors."""
        parts = self._stateful()
        return {name: part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From `state_dict` of an objective of the same recipe."""
        for name, part in self._stateful().items():
            part.load_state_dict(state[name])

    def _stateful(self) -> dict[str, Any]:
        parts = {"query": self._query_lambda, "document": self._passage_lambda, "frequencies": self._frequencies}
        return {name: part for name, part in parts.items() if part is not None}

    def _retrieval(self, queries: Tensor, passages: Tensor, batch: RetrievalBatch) -> dict[str, Tensor]:
        settings = self.loss
        scores = queries @ passages.t()  # [queries, passages]
        if batch.words is not None:
            scores = scores + batch.words
        own = scores.gather(1, batch.columns)  # [queries, most]
        parts: dict[str, Tensor] = {}
        if settings.kl and batch.teacher is not None:
            parts["kl"] = settings.kl * losses.kl_divergence(
                own, batch.teacher, batch.mask, settings.temperature, settings.teacher_temperature
            )
        if settings.margin_mse and batch.teacher is not None:
            parts["margin_mse"] = settings.margin_mse * losses.margin_mse(own, batch.teacher, batch.mask)
        if settings.info_nce:
            parts["info_nce"] = settings.info_nce * self._info_nce(queries, passages, scores, own, batch)
        return parts

    def _info_nce(
        self, queries: Tensor, passages: Tensor, scores: Tensor, own: Tensor, batch: RetrievalBatch
    ) -> Tensor:
        temperature = self.loss.info_nce_temperature
        if not self.loss.in_batch:
            positive = torch.zeros(len(own), dtype=torch.int64, device=own.device)
            return losses.info_nce(own, positive, batch.mask, temperature)
        keys, positive = batch.keys, batch.columns[:, 0]
        if ranks.world_size() > 1:
            sizes = ranks.gather_over_ranks(positive.new_tensor([[len(queries), len(passages)]]))  # [ranks, 2]
            before = sizes[: ranks.rank()].sum(0)
            keys, positive = ranks.gather_over_ranks(keys), positive + before[1]
            # every process scores all queries against its own passages: vectors of queries travel, and scores
            own_columns = ranks.gather_over_ranks(queries) @ passages.t()  # [all queries, passages]
            every = ranks.gather_over_ranks(own_columns.t()).t()  # [all queries, all passages]
            scores = every[before[0] : before[0] + len(queries)]
        allowed = ~(keys[None, :, None] == batch.relevant[:, None, :]).any(-1)  # [queries, all passages]
        allowed[torch.arange(len(positive)), positive] = True
        return losses.info_nce(scores, positive, allowed, temperature)

    def _flops(self, queries: Tensor, passages: Tensor) -> tuple[Tensor, Tensor]:
        if self._frequencies is None:
            return flops(queries), flops(passages)
        self._frequencies.update(passages.detach())
        shape = (self._frequencies.frequency(), self.sparsity.df_alpha, self.sparsity.df_beta)
        return df_flops(queries, *shape), df_flops(passages, *shape)

    @staticmethod
    def _lambda(steered: TargetSparsity | None, fixed: float, activity: Activity, share: float) -> float:
        if steered is None:
            return share * fixed
        if share == 1:  # before, the number of active latents does not answer to lambda yet
            steered.update(activity.active)
        return share * steered.value


def _at_least_float32(vectors: Tensor) -> Tensor:
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32))


def _steered(target: float | None, start: float) -> TargetSparsity | None:
    return None if target is None else TargetSparsity(target, start)
