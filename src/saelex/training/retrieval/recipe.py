"""A retrieval recipe: everything that `saelex train` needs, and nothing that it does not record in the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from saelex.encoder.settings import EncoderSettings
from saelex.training.examples.settings import ExampleData
from saelex.training.retrieval.settings import ModelRecipe, ProgressRecipe, StepRecipe, TuneRecipe, WeightingRecipe


@dataclass(frozen=True)
class LossRecipe:
    """What is minimised: the weighted sum of these, and the sparsity term."""

    kl: float = 1.0
    """KL(teacher || student) over a query's passages (SPLARE eq. 3)."""
    temperature: float = 1.0
    """The student's scores are divided by it in KL; it goes with the SAE's scale (SPLARE: 80 Llama Scope, 50 Gemma)."""
    teacher_temperature: float = 1.0
    """The teacher's scores are divided by it; 1 in both papers."""
    margin_mse: float = 0.0
    """Squared error of the margins positive - negative against the teacher's."""
    info_nce: float = 0.0
    """Contrastive: the positive against the query's negatives and, if wanted, every other passage of the batch."""
    info_nce_temperature: float = 1.0
    """The student's scores are divided by it in InfoNCE."""
    in_batch: bool = True
    """Whether InfoNCE takes the other queries' passages, of all processes, as negatives too."""
    reconstruction: float = 0.0
    """Weight of the SAE's reconstruction error, as the fraction of variance unexplained, beside the retrieval loss. 0:
    two stages, as in the papers. Only with a TopK head of an SAE or a random one, in one part (accumulation_steps)."""
    word_scale: float = 0.0
    """Add so many times BM25 over words to the student's score: latents learn what words miss. 0: concepts alone."""


@dataclass(frozen=True)
class SparsityRecipe:
    """What keeps vectors sparse."""

    kind: Literal["flops", "df_flops"] = "flops"
    """flops: sum over latents of the squared mean weight. df_flops: times document frequency (arXiv 2505.15070)."""
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
    df_alpha: float = 0.1
    """DF-FLOPS: document frequency at which the weight is one half."""
    df_beta: float = 10.0
    """DF-FLOPS: steepness there."""


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
