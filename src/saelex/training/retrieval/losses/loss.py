"""What a loss is: a weight and other settings of a recipe's section `loss`, a number, and what it cannot work with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from saelex.training.examples.settings import ExampleData
from saelex.training.retrieval.checks import at_least, positive
from saelex.training.retrieval.settings import ModelRecipe, StepRecipe
from saelex.training.retrieval.term import Term

if TYPE_CHECKING:
    from torch import Tensor

    from saelex.training.retrieval.batch import RetrievalBatch
    from saelex.training.retrieval.decoder import Reconstruction


class Scored(NamedTuple):
    """What a loss reads of a step; scores and vectors at least float32, whatever autocast says."""

    queries: Tensor  # [queries, latents], of this process
    passages: Tensor  # [passages, latents], of this process
    scores: Tensor  # [queries, passages], BM25 over words added where the recipe wants it
    own: Tensor  # [queries, most]: of each query's passages, as batch.columns and batch.mask have them
    batch: RetrievalBatch
    reconstruction: Reconstruction | None  # of the tokens, where a loss needs the decoder


class Setup(NamedTuple):
    """What a loss has to work with: the other sections of a recipe, and the processes of the run."""

    model: ModelRecipe
    data: ExampleData
    training: StepRecipe
    word_scale: float
    processes: int


@dataclass
class Loss(Term):
    """A loss; the field that has the loss's name is its weight, 0 where it is not in use."""

    ranks_passages: ClassVar[bool] = True
    """Whether it alone teaches retrieval."""
    needs_scores: ClassVar[bool] = False
    """Whether it reads a teacher's scores; then `batch.teacher` is there."""
    needs_embeddings: ClassVar[bool] = False
    """Whether it reads dense teachers' embeddings; then `batch.embedded` has some. It learns from unlabelled queries
    too."""
    needs_decoder: ClassVar[bool] = False
    """Whether it reads the tokens' reconstruction, for which a decoder is trained."""
    temperature_setting: ClassVar[str] = ""
    """The setting that scores are divided by; empty where there is none."""
    positive_settings: ClassVar[tuple[str, ...]] = ()
    """Those that must be above 0, in use or not."""

    @property
    def weight(self) -> float:
        """Factor of `value`."""
        return float(getattr(self, self.name))

    @property
    def gathers_passages(self) -> bool:
        """Whether every process computes with the passages of all."""
        return False

    def value(self, step: Scored) -> Tensor:
        """The loss without its weight, a scalar: a mean over what all ranks hold, so that its value is the same on each
        and its gradient, once averaged over ranks, that of one process with all queries (see `ranks`)."""
        raise NotImplementedError

    def check_settings(self) -> None:
        """Raises InputError where a setting is out of its bounds; asked of every loss."""
        at_least(0, self, "loss", self.name)
        positive(self, "loss", *self.positive_settings)

    def check(self, setup: Setup) -> None:
        """Raises InputError for what the loss cannot work with; asked of those in use."""
