"""Sections of a retrieval recipe: what is trained, which parameters learn, how, and what is measured meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from saelex.encoder.weighting import WeightingSettings
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
