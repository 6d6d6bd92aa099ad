"""An MNTP recipe: everything that `saelex mntp` needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from saelex.errors import InputError
from saelex.training.lora import LoraRecipe
from saelex.training.text_settings import TextData


@dataclass(frozen=True)
class MaskRecipe:
    """Which tokens are masked, and by what."""

    share: float = 0.2
    """Of a text's tokens that are masked and predicted, each drawn by itself; special tokens never are."""
    token: str | None = None
    """What stands for a masked token; null is the tokenizer's mask token or, where it has none, "_" as in LLM2Vec."""
    keep: float = 0.1
    """Share of the masked tokens that stay as they are (BERT, and LLM2Vec for Llama: 0.1)."""
    random: float = 0.1
    """Share of the masked tokens that become some other token (BERT, and LLM2Vec for Llama: 0.1)."""


@dataclass(frozen=True)
class MntpTraining:
    """How the model is trained."""

    steps: int | None = None
    """Optimiser steps; null follows from tokens, and where that is null too, one pass over the texts."""
    tokens: int | None = None
    """Stop after so many tokens, those of all processes together; padding does not count."""
    batch_tokens: int = 4096
    """Padded tokens of one forward pass of one process; texts of similar length share it."""
    batch_texts: int | None = None
    """Most texts of one forward pass; null is as many as batch_tokens has room for."""
    accumulation_steps: int = 1
    """Forward passes of a process per optimiser step; the loss is the mean over the masked tokens of all of them."""
    learning_rate: float = 5e-5
    """Peak learning rate."""
    head_learning_rate: float | None = None
    """Of the head above the blocks; null is learning_rate. A head that starts anew wants a higher one."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """After the warm-up: decay to 0 by the last step, or none."""
    warmup_share: float = 0.05
    """Share of the steps until the peak."""
    weight_decay: float = 0.0
    """AdamW's; never of norms and biases."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; 0 never clips."""
    dropout: float | None = None
    """Of the model; null keeps its own."""
    bf16: bool = False
    """bfloat16 autocast; the loss stays float32."""
    gradient_checkpointing: bool = False
    """Compute the blocks' activations again in the backward pass instead of keeping them."""
    seed: int = 0
    """Of order, masks, dropout and a new head."""
    log_every: int = 10
    """Steps between two entries of the loss history."""
    save_every: int = 500
    """Steps between two checkpoints; 0 never."""
    device: str | None = None
    """cpu or cuda; null is a GPU where there is one."""


@dataclass(frozen=True)
class MntpRecipe:
    """Everything that `saelex mntp` needs."""

    model: str = ""
    """The language model: hub id or folder."""
    revision: str | None = None
    """Its hub revision."""
    tune: Literal["lora", "full"] = "lora"
    """lora: adapters, merged at the end; a head that starts anew learns too. full: everything."""
    lora: LoraRecipe = field(default_factory=lambda: LoraRecipe(rank=16, alpha=32.0, dropout=0.05))
    """Low-rank adapters."""
    dtype: str | None = None
    """Of the weights; null is float32 for full and the checkpoint's for lora, whose adapters are float32."""
    data: TextData = field(default_factory=TextData)
    """Which texts are read; no more than the steps or tokens ask for, in the order of the corpora."""
    max_length: int | None = 512
    """Tokens of a text, special ones counted; the rest is cut off. null is the model's limit."""
    heldout_texts: int = 200
    """Texts drawn from the data, at most a tenth of them, on which loss and accuracy are measured and nothing is
    learned; 0 measures nothing."""
    mask: MaskRecipe = field(default_factory=MaskRecipe)
    """Which tokens are masked, and by what."""
    training: MntpTraining = field(default_factory=MntpTraining)
    """How the model is trained."""

    def check(self) -> None:
        """Raises InputError for a recipe that cannot be run, naming the setting."""
        mask, training = self.mask, self.training
        positive = (training.batch_tokens, training.batch_texts or 1, training.accumulation_steps, training.log_every)
        wrong = {
            "the recipe names no model or no data.corpora; set both": not self.model or not self.data.corpora,
            f"mask.share is {mask.share}; it lies between 0 and 1": not 0 < mask.share < 1,
            "mask.keep and mask.random are shares of the masked tokens, together at most 1": not (
                min(mask.keep, mask.random) >= 0 and mask.keep + mask.random <= 1
            ),
            "training.steps and training.tokens are both given; set one": None not in (training.steps, training.tokens),
            "training.steps and training.tokens are at least 1": 0 in (training.steps, training.tokens)
            or min(training.steps or 1, training.tokens or 1) < 1,
            "training.batch_tokens, batch_texts, accumulation_steps and log_every are at least 1": min(positive) < 1,
            "max_length is at least 4": self.max_length is not None and self.max_length < 4,
            "training.device is cpu, cuda or null": training.device not in (None, "cpu", "cuda"),
        }
        for message, is_so in wrong.items():
            if is_so:
                raise InputError(message)
