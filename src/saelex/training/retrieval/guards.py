"""What stops a run that cannot come to anything, with what was seen and what to change."""

from __future__ import annotations

import math
from collections.abc import Mapping

from saelex.errors import InputError
from saelex.training.retrieval.activity import Activity
from saelex.training.retrieval.recipe import RetrievalRecipe

_EMPTY_STEPS = 20  # steps in a row with most texts empty
_EMPTY_SHARE = 0.5
_DENSE_STEPS = 300  # steps in a row, after the ramp of lambda, with too many active latents
_DENSE_LATENTS = 10_000  # active latents of a text that no inverted index wants, or, of a small head,
_DENSE_SHARE = 0.5  # this share of all latents
_DENSE_FALL = 0.8  # of the active latents when those steps began: with fewer by now, the run is on its way
_FEW_STEPS = 100  # steps in a row with texts that share nearly all of their latents
_FEW_RATIO = 1.5  # latents in use / latents of one text: 1 where all texts have the same
_FEW_SHARE = 0.25  # of all latents; where more are in use they are not few, and density is the trouble
_FEW_ROWS = 16  # texts of a batch, below which the ratio says little


class TrainingStoppedError(InputError):
    """A run that has collapsed or diverged; the message names the step and what to change."""


class Guards:
    """Checks every step of a run. Give all ranks the same numbers, as `measure` does: then all stop together."""

    def __init__(self, recipe: RetrievalRecipe) -> None:
        self.recipe = recipe
        self.counts: dict[str, int] = {}  # bad steps in a row, by check and side
        self.dense_from: dict[str, float] = {}  # by side: active latents in the first of them

    def check(self, step: int, loss: float, query: Activity, document: Activity) -> None:
        """Raises TrainingStoppedError, one line, where the step (from 0) completes a run of bad ones, or its loss is
        not finite.

        A run of bad steps: most queries or documents empty for 20 steps; 100 steps of texts that share nearly all
        of their latents; 300 steps, after the ramp of lambda, with more than half of the latents, or 10,000, active in
        the average text, unless they have become fewer by a fifth meanwhile, or lambda is 0: who wants no sparsity
        may have none.
        """
        self._check_loss(step, loss)
        for side, activity in (("query", query), ("document", document)):
            self._check_empty(step, side, activity)
            self._check_few(step, side, activity)
            self._check_dense(step, side, activity)

    def state_dict(self) -> dict[str, dict[str, float]]:
        return {"counts": dict(self.counts), "dense_from": dict(self.dense_from)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, float]]) -> None:
        self.counts = {name: int(count) for name, count in state["counts"].items()}
        self.dense_from = dict(state["dense_from"])

    def _check_loss(self, step: int, loss: float) -> None:
        if not math.isfinite(loss):
            raise TrainingStoppedError(f"step {step + 1}: the loss is {loss}; {self._shorter_steps()}")

    def _check_empty(self, step: int, side: str, activity: Activity) -> None:
        if self._lasts("empty", side, activity.empty > _EMPTY_SHARE, _EMPTY_STEPS):
            raise TrainingStoppedError(
                f"step {step + 1}: {activity.empty:.0%} of the {_plural(side)} have no active latent, most of them for "
                f"{_EMPTY_STEPS} steps; {self._sparsity(side, 'lower')}, raise sparsity.ramp_steps "
                f"(now {self.recipe.sparsity.ramp_steps}), or lower training.learning_rate "
                f"(now {self.recipe.training.learning_rate:g})"
            )

    def _check_few(self, step: int, side: str, activity: Activity) -> None:
        few = (
            activity.rows >= _FEW_ROWS
            and 0 < activity.in_use < _FEW_RATIO * activity.active
            and activity.in_use < _FEW_SHARE * activity.latents
        )
        if self._lasts("few", side, few, _FEW_STEPS):
            raise TrainingStoppedError(
                f"step {step + 1}: {activity.rows} {_plural(side)} use {activity.in_use:.0f} latents between them, "
                f"{activity.active:.0f} each, so that they are nearly alike, for {_FEW_STEPS} steps; "
                f"{self._shorter_steps()}, or {self._sparsity(side, 'lower')}"
            )

    def _check_dense(self, step: int, side: str, activity: Activity) -> None:
        sparsity = self.recipe.sparsity
        wanted = (sparsity.query if side == "query" else sparsity.document) > 0 and step >= sparsity.ramp_steps
        dense = wanted and activity.active > min(_DENSE_SHARE * activity.latents, _DENSE_LATENTS)
        lasts = self._lasts("dense", side, dense, _DENSE_STEPS)
        first = self.dense_from.setdefault(side, activity.active)
        if not dense or (lasts and activity.active < _DENSE_FALL * first):
            self.counts[f"dense {side}"] = 0
            del self.dense_from[side]
        elif lasts:
            raise TrainingStoppedError(
                f"step {step + 1}: {activity.active:.0f} of {activity.latents} latents are active in the average "
                f"{side}, too many for {_DENSE_STEPS} steps; {self._sparsity(side, 'raise')}"
            )

    def _lasts(self, check: str, side: str, bad: bool, patience: int) -> bool:
        """Whether this is the last of `patience` bad steps in a row."""
        name = f"{check} {side}"
        self.counts[name] = self.counts.get(name, 0) + 1 if bad else 0
        return self.counts[name] >= patience

    def _sparsity(self, side: str, change: str) -> str:
        """The setting that makes vectors sparser, and which way to turn it: change is lower or raise."""
        sparsity = self.recipe.sparsity
        value, target = (
            (sparsity.query, sparsity.target_query)
            if side == "query"
            else (sparsity.document, sparsity.target_document)
        )
        if target is None:
            return f"{change} sparsity.{side} (now {value:g})"
        opposite = {"lower": "raise", "raise": "lower"}[change]
        return f"{opposite} sparsity.target_{side} (now {target:g}) or {change} sparsity.{side} (now {value:g})"

    def _shorter_steps(self) -> str:
        """The learning rate, and the temperatures of the losses in use: scores too large for them make a step long."""
        loss = self.recipe.loss
        lower = f"lower training.learning_rate (now {self.recipe.training.learning_rate:g})"
        names = [term.temperature_setting for term in loss.terms if term.temperature_setting]
        return ", or raise ".join([lower, *(f"loss.{name} (now {getattr(loss, name):g})" for name in names)])


def _plural(side: str) -> str:
    return {"query": "queries", "document": "documents"}[side]
