"""A retrieval recipe: everything that `saelex train` needs, and nothing that it does not record in the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from saelex.encoder.settings import EncoderSettings
from saelex.encoder.weighting import WeightingSettings
from saelex.encoder.words.languages import DEFAULT_LANGUAGE
from saelex.training.lora import LoraRecipe
from saelex.training.text_settings import TextData


@dataclass(frozen=True)
class ModelRecipe:
    """What is trained: a backbone and a head, or an encoder that exists already."""

    encoder: str = ""
    """Start from this saelex encoder, a folder or hub id; of what follows only token_k, device and dtype count then."""
    backbone: str = ""
    """Hub id or folder of the language model; a folder that `saelex mntp` wrote is one."""
    head: Literal["sae", "vocabulary", "random"] = "sae"
    """sae: a published or trained SAE's encoder. vocabulary: SPLADE's. random: latents drawn at random, a control."""
    sae: str = ""
    """The SAE: a folder, a hub id, or a name that `saelex sae list` shows."""
    sae_file: str | None = None
    """Path of the SAE within its repository, where `sae` is a hub id."""
    layer: int | None = None
    """Block, from 0, whose output is read; null is the one that the SAE names, or the last one."""
    transform: bool = False
    """Read the output of the model's masked-LM transform instead of the block's (SAE-SPLADE's "h")."""
    n_latents: int = 65_536
    """Latents of a random head."""
    bidirectional: bool | None = None
    """Attention of a decoder; null lets its tokens see both sides."""
    pooling: Literal["max", "sum"] = "max"
    """How a text's tokens become one vector."""
    saturation: Literal["log1p", "log1p_log1p", "sqrt", "none"] = "log1p"
    """Applied to the pooled activations."""
    token_k: int | None = None
    """Latents per token of a TopK head; null is the SAE's own k. A vocabulary or random head becomes TopK by it."""
    start_active: int | None = None
    """Vocabulary and random heads: shift the bias so that a passage starts with so many active latents. A language
    model's softmax does not see such a shift, so its logits may all be positive; ReLU does. null leaves it."""
    revision: str | None = None
    """Hub revision of the backbone."""
    device: str | None = None
    """Where to compute; null is a GPU where there is one."""
    dtype: str | None = None
    """Of the backbone's weights; null keeps the checkpoint's."""


@dataclass(frozen=True)
class WeightingRecipe:
    """BM25 over latents, counted with the start's latents and frozen: `saelex label-free` within a training.

    Rare latents count for more, frequent ones can be dropped. Training moves what latents are, and with it how frequent
    they are: a second training that starts from the first one (model.encoder) counts them anew.
    """

    texts: TextData = field(default_factory=TextData)
    """Texts on which the statistics are counted, as passages; none: an encoder keeps the weighting that it has."""
    settings: WeightingSettings = field(default_factory=WeightingSettings)
    """How activations become weights by them."""


@dataclass(frozen=True)
class TuneRecipe:
    """Which parameters learn."""

    backbone: Literal["lora", "full", "frozen"] = "lora"
    """lora: adapters only (SPLARE). full: everything (SAE-SPLADE). frozen: nothing."""
    lora: LoraRecipe = field(default_factory=LoraRecipe)
    """Low-rank adapters on the backbone's linear layers."""
    head: bool = False
    """Train the head's weight and bias too: SAE-SPLADE and SPLADE do, SPLARE does not."""
    alpha: bool = False
    """Train the scalar that scales all weights (SAE-SPLADE)."""
    dropout: float | None = None
    """Of the backbone; null keeps its own."""


@dataclass(frozen=True)
class Source:
    """One source of training queries; see `saelex.training.examples`."""

    path: str = ""
    """File, folder or hub id."""
    kind: Literal["beir", "jsonl", "parquet", "colbert", "hub", "bge"] = "jsonl"
    """Its layout."""
    split: str = "train"
    """Split of a BEIR folder or of a hub data set."""
    subset: str | None = None
    """Configuration of a hub data set."""
    weight: float = 1.0
    """Share of the examples that come from here, in proportion to the others' weights."""
    corpus: str | None = None
    """Where passages are named by id: their texts (JSONL or TSV); null takes what lies beside `path`."""
    queries: str | None = None
    """Where queries are named by id: their texts; null takes what lies beside `path`."""
    negatives: str | None = None
    """Parquet of `saelex mine` or `saelex score` for a BEIR folder's queries; null: the source has its own or none."""
    columns: dict[str, str] = field(default_factory=dict)
    """Other names of the columns query, positive, negatives, scores."""
    exclude: list[str] = field(default_factory=list)
    """Corpora whose passages are left out, with the queries that they answer: those of a test set."""
    max_queries: int | None = None
    """Read at most so many queries; null reads all."""


@dataclass(frozen=True)
class ExampleData:
    """Which examples are read."""

    sources: list[Source] = field(default_factory=list)
    """Sources, mixed by their weights."""
    negatives: int = 8
    """Negatives per query and step, drawn at random from the source's; queries that have fewer give what they have."""
    require_scores: bool | None = None
    """Leave out passages without a teacher's score; null does so where the loss needs scores."""


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
    word_language: str = DEFAULT_LANGUAGE
    """Of these words: an ISO 639-1 code for stemmer and stop words, none for plain words, auto to go by script."""


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
class StepRecipe:
    """How the model is trained."""

    batch_queries: int = 128
    """Queries per optimiser step, over all processes."""
    max_query_length: int | None = None
    """Tokens of a query while training, special ones counted; null is the encoder's own limit."""
    max_document_length: int | None = None
    """Tokens of a passage while training; null is the encoder's own limit."""
    accumulation_steps: int = 1
    """Parts that each process' share of a batch is computed in. The gradient is that of the whole batch (gradient
    caching), at the price of a second forward pass; 1 computes it at once."""
    epochs: float = 1.0
    """Passes over the data, where the sources tell their size and max_steps is not given."""
    max_steps: int | None = None
    """Optimiser steps; null follows from epochs."""
    learning_rate: float = 5e-5
    """Peak learning rate."""
    head_learning_rate: float | None = None
    """Of the head, where it is trained, and of loss.reconstruction's decoder; null is learning_rate."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """After the warm-up: decay to 0 by the last step, or none."""
    warmup_steps: int | None = None
    """Steps until the peak; null follows from warmup_share."""
    warmup_share: float = 0.01
    """Share of the steps that are warm-up."""
    weight_decay: float = 0.0
    """AdamW's."""
    beta1: float = 0.9
    """Adam's."""
    beta2: float = 0.999
    """Adam's."""
    epsilon: float = 1e-8
    """Adam's."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; 0 never clips."""
    bf16: bool = False
    """bfloat16 autocast; the head's sums and the loss stay float32."""
    gradient_checkpointing: bool = False
    """Compute the blocks' activations again in the backward pass instead of keeping them."""
    token_k_start: int | None = None
    """TopK heads: anneal the latents per token from this down to model.token_k; null keeps them."""
    token_k_steps: int = 0
    """Steps of that annealing."""
    fsdp: str = ""
    """transformers' fsdp option, for models that do not fit one GPU, such as "full_shard auto_wrap"."""
    seed: int = 0
    """Of sampling, order and dropout."""
    log_every: int = 10
    """Steps between two lines of the log."""
    save_every: int = 500
    """Steps between two checkpoints."""
    log_to: list[str] = field(default_factory=list)
    """tensorboard, wandb: besides training_log.jsonl, which is always written."""


@dataclass(frozen=True)
class ProgressRecipe:
    """Measuring while training: nDCG@10 and QD-FLOPs, on a small development collection."""

    collections: list[str] = field(default_factory=list)
    """Folders in BEIR's layout, FOLDER:SPLIT; never a test split."""
    every: int = 0
    """Steps between two measurements; 0 never."""
    queries: int = 200
    """Queries of each collection, drawn once."""
    documents: int = 2000
    """Documents of each collection: the queries' relevant ones, and others drawn once."""


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
