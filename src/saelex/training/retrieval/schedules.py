"""What changes while training: the ramp of lambda, the k of a TopK head, and a lambda that finds its own value.

`step` counts the optimiser steps already made: 0 at the first one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from saelex.errors import InputError


def ramp(kind: str, step: int, steps: int) -> float:
    """Factor of lambda, from 0 to 1 over `steps` steps: constant, linear, or quadratic (SPLADE: (step / steps)^2).

    Raises InputError for another kind.
    """
    powers = {"constant": 0, "linear": 1, "quadratic": 2}
    if kind not in powers:
        raise InputError(f"sparsity.ramp is {kind!r}; choose one of {', '.join(powers)}")
    if step >= steps:
        return 1.0
    return float((step / steps) ** powers[kind])


def annealed_k(start: int, end: int, step: int, steps: int) -> int:
    """Latents per token of a TopK head: from `start` down to `end` over `steps` steps, by equal factors.

    Never rises, and is `end` from step `steps` on. Raises InputError unless start >= end >= 1.
    """
    if not start >= end >= 1:
        raise InputError(
            f"training.token_k_start ({start}) must be at least model.token_k ({end}), and that at least 1"
        )
    if step >= steps:
        return end
    return round(start * math.exp(math.log(end / start) * step / steps))


class TargetSparsity:
    """Steers lambda so that the mean number of active latents reaches a target: an alternative to choosing lambda.

    With e = log(active / target), smoothed over some ten steps, each step adds

        change of e + gain * e          (at most 0.05 either way: lambda doubles within 14 steps at the fastest)

    to log(lambda): a proportional-integral controller in its incremental form, which cannot wind up at the limits. The
    change of e answers a model that is already on its way, the rest removes what remains. Where active falls like
    lambda^-b with b from 0.3 to 1, a hundred steps after lambda if need be, the default gain comes within 10% of the
    target in some 300 to 800 steps from 50 times as many, and passes it by less than a quarter. Lambda keeps within a
    factor of a million of its start.

    Multiply `value` by the ramp, and update only once the ramp has ended: before, lambda is not what active answers to.
    """

    _SMOOTHING = 0.9  # part of the former error that each step keeps
    _LARGEST_STEP = 0.05  # of log(lambda)
    _RANGE = math.log(1e6)  # of log(lambda), either side of its start
    _FEWEST = 1e-3  # share of the target that fewer latents, or none, count as

    def __init__(self, target: float, start: float, gain: float = 0.02) -> None:
        """target: active latents per text. start: the first lambda. gain: 1 / steps that lambda takes to follow.

        Raises InputError unless all are positive.
        """
        if not min(target, start, gain) > 0:
            raise InputError(
                f"a target of {target:g} active latents with a first lambda of {start:g} cannot be steered to; "
                "set sparsity.target_query and target_document, and sparsity.query and document, above 0"
            )
        self.target = target
        self.gain = gain
        self._start = math.log(start)
        self._log_lambda = self._start
        self._error: float | None = None

    @property
    def value(self) -> float:
        """lambda."""
        return math.exp(self._log_lambda)

    def update(self, active: float) -> None:
        """Move lambda by what a step has shown; active: mean active latents of the whole batch, over all ranks."""
        seen = math.log(max(active / self.target, self._FEWEST))
        before = seen if self._error is None else self._error
        self._error = self._SMOOTHING * before + (1 - self._SMOOTHING) * seen
        step = self._error - before + self.gain * self._error
        moved = self._log_lambda + min(max(step, -self._LARGEST_STEP), self._LARGEST_STEP)
        self._log_lambda = min(max(moved, self._start - self._RANGE), self._start + self._RANGE)

    def state_dict(self) -> dict[str, float | None]:
        return {"log_lambda": self._log_lambda, "error": self._error}

    def load_state_dict(self, state: Mapping[str, float | None]) -> None:
        log_lambda = state["log_lambda"]
        assert log_lambda is not None
        self._log_lambda = log_lambda
        self._error = state["error"]
