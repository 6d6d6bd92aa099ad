"""A retrieval recipe: everything that `saelex train` needs, and nothing that it does not record in the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from saelex.encoder.settings import EncoderSettings
from saelex.encoder.words.languages import DEFAULT_LANGUAGE
from saelex.errors import InputError
from saelex.recipe import parts_of, settings_of
from saelex.training.examples.settings import ExampleData
from saelex.training.retrieval.losses import LOSSES
from saelex.training.retrieval.losses.loss import Loss
from saelex.training.retrieval.regularisers import REGULARISERS
from saelex.training.retrieval.regularisers.regulariser import Regulariser
from saelex.training.retrieval.settings import ModelRecipe, ProgressRecipe, StepRecipe, TuneRecipe, WeightingRecipe

if TYPE_CHECKING:
    Kind = str
else:
    Kind = Literal[tuple(kind.name for kind in REGULARISERS)]


@dataclass(frozen=True)
@settings_of(*LOSSES)
class LossRecipe:
    """What is minimised: the weighted sum of the losses, whose settings their own files declare, and the sparsity
    term."""

    word_scale: float = 0.0
    """Add so many times BM25 over words to the student's score: latents learn what words miss. 0: concepts alone."""
    word_language: str = DEFAULT_LANGUAGE
    """Of these words: an ISO 639-1 code for stemmer and stop words, none for plain words, auto to go by script."""

    if TYPE_CHECKING:

        def __init__(self, word_scale: float = 0.0, word_language: str = DEFAULT_LANGUAGE, **settings: float) -> None:
            """settings: those of the losses."""

    @property
    def terms(self) -> list[Loss]:
        """The losses that have a weight."""
        return [loss for loss in parts_of(self, Loss) if loss.weight]

    @property
    def needs_scores(self) -> bool:
        """Whether one of them compares the student with a teacher."""
        return any(loss.needs_scores for loss in self.terms)

    @property
    def needs_embeddings(self) -> bool:
        """Whether one of them reads dense teachers' embeddings."""
        return any(loss.needs_embeddings for loss in self.terms)

    @property
    def needs_decoder(self) -> bool:
        """Whether one of them reads the tokens' reconstruction."""
        return any(loss.needs_decoder for loss in self.terms)


@dataclass(frozen=True)
@settings_of(*REGULARISERS)
class SparsityRecipe:
    """What keeps vectors sparse."""

    kind: Kind = field(
        default="flops", metadata={"help": "\n".join(f"{kind.name}: {kind.meaning}." for kind in REGULARISERS)}
    )
    query: float = 1e-4
    """lambda of the queries."""
    document: float = 1e-4
    """lambda of the documents."""
    ramp: Literal["constant", "linear", "quadratic"] = "constant"
    """How lambda grows to its value."""
    ramp_steps: int = 0
    """Steps of the ramp."""
    target_query: float | None = None
    """Steer the queries' lambda so that a query has so many active latents; null keeps lambda."""
    target_document: float | None = None
    """Steer the documents' lambda likewise."""

    if TYPE_CHECKING:

        def __init__(
            self,
            kind: str = "flops",
            query: float = 1e-4,
            document: float = 1e-4,
            ramp: Literal["constant", "linear", "quadratic"] = "constant",
            ramp_steps: int = 0,
            target_query: float | None = None,
            target_document: float | None = None,
            **settings: float,
        ) -> None:
            """settings: those of the regularisers."""

    @property
    def regulariser(self) -> Regulariser:
        """The one that `kind` names. Raises InputError where there is none."""
        known = {term.name: term for term in parts_of(self, Regulariser)}
        if self.kind not in known:
            raise InputError(f"sparsity.kind is one of {', '.join(known)}, not {self.kind!r}")
        return known[self.kind]


@dataclass(frozen=True)
class RetrievalRecipe:
    """Everything that `saelex train` needs."""

    model: ModelRecipe = field(default_factory=ModelRecipe)
    """What is trained."""
    weighting: WeightingRecipe = field(default_factory=WeightingRecipe)
    """Corpus statistics that weigh the latents."""
    tune: TuneRecipe = field(default_factory=TuneRecipe)
    """Which parameters learn."""
    settings: EncoderSettings = field(default_factory=EncoderSettings)
    """Prompts, lengths, masks and Top-K of the encoder; training uses the lengths."""
    data: ExampleData = field(default_factory=ExampleData)
    """Which examples are read."""
    loss: LossRecipe = field(default_factory=LossRecipe)
    """What is minimised."""
    sparsity: SparsityRecipe = field(default_factory=SparsityRecipe)
    """What keeps vectors sparse."""
    training: StepRecipe = field(default_factory=StepRecipe)
    """How."""
    progress: ProgressRecipe = field(default_factory=ProgressRecipe)
    """Measuring while training."""
    training_data: str = ""
    """What the data are and under which licences they stand, for the model card; empty names the sources."""
    licence: str = ""
    """Of the model, for its card."""
