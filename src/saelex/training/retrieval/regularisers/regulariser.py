"""What a regulariser is: a number that grows with the postings that vectors fill and touch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from saelex.training.retrieval.term import Term


@dataclass
class Regulariser(Term):
    """A regulariser; its fields are settings of a recipe's section `sparsity`, whose `kind` names it."""

    meaning: ClassVar[str]
    """A line of the recipe's help."""

    def update(self, documents: Tensor) -> None:
        """Once a step, before `value`; documents: [rows, latents] of this rank, without gradient."""

    def value(self, weights: Tensor) -> Tensor:
        """The term without lambda, a scalar, the same on each rank; weights: [rows, latents], this rank's."""
        raise NotImplementedError

    def check(self) -> None:
        """Raises InputError for settings that make no term; asked of the one in use."""
