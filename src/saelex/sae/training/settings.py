"""The settings of a training run; each field's docstring is its help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from saelex.errors import InputError

Gate = Literal["topk", "batch_topk", "hierarchical_topk", "relu", "jumprelu"]

_POSITIVE = (
    "n_latents",
    "k",
    "tokens",
    "batch_tokens",
    "accumulate",
    "buffer_tokens",
    "dead_after_tokens",
    "log_steps",
)


@dataclass(frozen=True)
class SaeTraining:
    """How to train an SAE; the defaults suit a TopK SAE, a CPU and a few million tokens."""

    gate: Gate = "topk"
    """What lets latents through. topk: k per token; batch_topk: k per token on average, saved as one threshold;
    hierarchical_topk: k per token, and good for any smaller k too; relu: an L1 penalty; jumprelu: learned thresholds
    and an L0 penalty."""
    n_latents: int = 16_384
    """Width of the SAE."""
    k: int = 32
    """Active latents per token, for the three topk gates."""
    widths: list[int] = field(default_factory=list)
    """Matryoshka: widths of nested SAEs, ending at n_latents, such as [1024, 4096, 16384]; topk and batch_topk only."""
    sparsity: float = 0.005
    """Weight of the penalty of relu and jumprelu, at any scale of the states. For jumprelu a latent fires where it
    explains that share of the variance; relu pays so much for its latents' sum, in the states' root mean square, and
    wants some fifty times as much."""
    sparsity_warmup_steps: int = 500
    """Steps over which the penalty rises to its weight."""
    bandwidth: float = 0.1
    """jumprelu: pre-activations so close to a threshold move it, in the states' root mean square."""
    initial_threshold: float = 0.1
    """jumprelu: thresholds at the start, in the states' root mean square."""
    tokens: int = 2_000_000
    """Token states to train on in all; the data is walked again until they are reached."""
    batch_tokens: int = 2_048
    """Token states per step, of all micro-batches and processes together."""
    accumulate: int = 1
    """Micro-batches that a step is split into, for less memory; batch_topk then takes k per token of each of them."""
    learning_rate: float = 1e-3
    """Peak of AdamW's learning rate. Decoder rows have length 1, so it does not depend on the scale of the states."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Shape of the learning rate's fall at the end."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises to its peak."""
    decay_share: float = 0.2
    """Share of the steps, at the end, over which the learning rate falls to zero; 0 keeps it constant."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; longer ones are shortened to it."""
    aux_coefficient: float = 1 / 16
    """Weight of the auxiliary loss that revives dead latents, for the three topk gates; 0 turns it off."""
    aux_k: int | None = None
    """Dead latents per token that rebuild the error in the auxiliary loss; null means 2k."""
    dead_after_tokens: int = 10_000_000
    """Tokens without firing after which a latent counts as dead; for short runs about a tenth of `tokens`."""
    normalise_loss: bool = True
    """Divide the loss by the states' variance, estimated at the start: clip_norm then means the same at any scale."""
    normalise_input: bool = False
    """Train on (x - mean) / mean norm, estimated at the start; folded into the saved SAE, so that it reads plain
    states."""
    centre: bool = True
    """Start b_dec at the states' mean instead of zero."""
    bfloat16: bool | None = None
    """topk gates: find candidate latents by a bfloat16 product, then score them in float32; null: where the processor
    has it. relu and jumprelu: all products in bfloat16, weights in float32; null: no."""
    buffer_tokens: int = 262_144
    """Token states held and shuffled at a time, by each process."""
    checkpoint_steps: int = 500
    """Steps between checkpoints; 0 writes none."""
    log_steps: int = 50
    """Steps between lines of metrics.jsonl."""
    log_to: list[Literal["tensorboard", "wandb"]] = field(default_factory=list)
    """Where the metrics go besides metrics.jsonl; the package must be installed."""
    device: str = "cpu"
    """Where the SAE is trained; with several processes "cuda" is each one's own GPU."""
    seed: int = 0
    """Of the initial weights and of the order of the data."""

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            value = getattr(self, name)
            if value < 1 or value != int(value):
                raise InputError(f"{name} is a positive whole number, not {value}")
            object.__setattr__(self, name, int(value))  # 1.2e6 is a float to Python
        if self.sparse and self.k >= self.n_latents:
            raise InputError(f"k={self.k} must be smaller than n_latents={self.n_latents}")
        if self.tokens < self.batch_tokens:
            raise InputError(f"tokens={self.tokens} is less than one batch of {self.batch_tokens}; raise tokens")
        if self.batch_tokens % self.accumulate:
            raise InputError(f"batch_tokens={self.batch_tokens} does not split into accumulate={self.accumulate} parts")
        if not (self.learning_rate > 0 and self.clip_norm > 0 and 0 <= self.decay_share <= 1):
            raise InputError("learning_rate and clip_norm must be positive and decay_share between 0 and 1")
        if not (self.sparsity >= 0 and self.bandwidth > 0 and self.initial_threshold > 0):
            raise InputError("bandwidth and initial_threshold must be positive and sparsity not negative")
        if self.widths:
            self._check_widths()

    def _check_widths(self) -> None:
        if self.gate not in ("topk", "batch_topk"):
            raise InputError(f"widths are for the gates topk and batch_topk, not for {self.gate}; leave them out")
        rising = all(a < b for a, b in zip([0, *self.widths], self.widths))
        if not rising or self.widths[-1] != self.n_latents:
            raise InputError(f"widths rise and end at n_latents={self.n_latents}, unlike {self.widths}")

    @property
    def steps(self) -> int:
        """Optimiser steps: whole batches in `tokens`."""
        return self.tokens // self.batch_tokens

    @property
    def sparse(self) -> bool:
        """Whether the gate keeps a number of latents, so that the work follows k."""
        return self.gate.endswith("topk")
