"""Training a TopK SAE on token states, as in SAE-SPLADE's first stage."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from saelex.errors import InputError
from saelex.sae.activations import TopK
from saelex.sae.autoencoder import SaeConfig, SparseAutoencoder
from saelex.sae.buffer import Position, ShuffleBuffer, StateSource, as_source
from saelex.sae.checkpoints import Checkpoints
from saelex.sae.metrics import dead_share, reconstruction_metrics
from saelex.sae.topk_function import decode_topk, encode_topk

_STATISTICS_TOKENS = 65_536  # states from which mean, spread and mean norm are estimated
_SILENT_STEPS = 50  # steps without any active latent after which training gives up


@dataclass(frozen=True)
class TopKTraining:
    """How to train a TopK SAE; the defaults suit a CPU and a few million tokens."""

    n_latents: int = 16_384
    """Width of the SAE."""
    k: int = 32
    """Active latents per token."""
    tokens: int = 2_000_000
    """Token states to train on in all; the data is walked again until they are reached."""
    batch_tokens: int = 2_048
    """Token states per step."""
    learning_rate: float = 1e-3
    """Peak of AdamW's learning rate. Decoder rows have length 1, so it does not depend on the scale of the states."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises to its peak."""
    decay_share: float = 0.2
    """Share of the steps, at the end, over which the learning rate falls to zero; 0 keeps it constant."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; longer ones are shortened to it."""
    aux_coefficient: float = 1 / 16
    """Weight of the auxiliary loss that revives dead latents; 0 turns it off."""
    aux_k: int | None = None
    """Dead latents per token that rebuild the error in the auxiliary loss; null means 2k."""
    dead_after_tokens: int = 10_000_000
    """Tokens without firing after which a latent counts as dead; for short runs about a tenth of `tokens`."""
    normalise_loss: bool = True
    """Divide the loss by the states' variance, estimated at the start: clip_norm then means the same at any scale."""
    normalise_input: bool = False
    """Train on (x - mean) / mean norm, estimated at the start; folded into the biases of the saved SAE."""
    centre: bool = True
    """Start b_dec at the states' mean instead of zero."""
    bfloat16: bool | None = None
    """Find candidate latents by a bfloat16 product, then score them in float32; null: where the processor has it."""
    buffer_tokens: int = 262_144
    """Token states held and shuffled at a time."""
    checkpoint_steps: int = 500
    """Steps between checkpoints; 0 writes none."""
    log_steps: int = 50
    """Steps between lines of metrics.jsonl."""
    device: str = "cpu"
    """Where the SAE is trained."""
    seed: int = 0
    """Of the initial weights and of the order of the data."""

    def __post_init__(self) -> None:
        for name in ("n_latents", "k", "tokens", "batch_tokens", "buffer_tokens", "dead_after_tokens", "log_steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is a positive number, not {getattr(self, name)}")
        if self.k >= self.n_latents:
            raise InputError(f"k={self.k} must be smaller than n_latents={self.n_latents}")
        if self.tokens < self.batch_tokens:
            raise InputError(f"tokens={self.tokens} is less than one batch of {self.batch_tokens}; raise tokens")
        if not (self.learning_rate > 0 and self.clip_norm > 0 and 0 <= self.decay_share <= 1):
            raise InputError("learning_rate and clip_norm must be positive and decay_share between 0 and 1")

    @property
    def steps(self) -> int:
        """Optimiser steps: whole batches in `tokens`."""
        return self.tokens // self.batch_tokens

    def rate(self, step: int) -> float:
        """Learning rate of a step (from 0), in units of the peak: linear warm-up, constant, linear decay."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        decay_steps = self.decay_share * self.steps
        return min(warm, (self.steps - step) / decay_steps) if decay_steps else warm


def train_topk(
    states: StateSource | Tensor | NDArray[Any] | Iterable[Tensor],
    config: TopKTraining,
    *,
    output: str | Path | None = None,
    model_name: str | None = None,
    layer: int | None = None,
    metadata: dict[str, Any] | None = None,
    resume: bool = True,
    progress: bool = False,
) -> SparseAutoencoder:
    """Train a TopK SAE on token states.

    states: a tensor or array [tokens, d_model], an iterable of such chunks that can be walked again, or a StateSource.
    output: folder for the SAE (SAELens' layout), `metrics.jsonl` and, while it runs, checkpoints; a run that was killed
        goes on from its last checkpoint and ends with the same weights, bit for bit. None keeps everything in memory.
    model_name, layer, metadata: recorded in the SAE's configuration.

    Raises InputError when training diverges or dies, when the folder holds a finished SAE, or when a run is resumed
    with another configuration.
    """
    source = as_source(states)
    checkpoints = Checkpoints(Path(output), asdict(config)) if output is not None else None
    trainer = TopKTrainer(source, config)
    if checkpoints is not None:
        checkpoints.begin(resume)
        if (saved := checkpoints.latest()) is not None:
            trainer.restore(*saved)
    started, first = time.monotonic(), trainer.step
    total, done = (steps * config.batch_tokens for steps in (config.steps, first))
    with tqdm(desc="training", total=total, initial=done, unit="tok", unit_scale=True, disable=not progress) as bar:
        # not one batch more than needed: it may fill a whole buffer
        for batch in islice(trainer.buffer, max(0, config.steps - first)):
            record = trainer.train_step(batch)
            bar.update(config.batch_tokens)
            if record is not None:
                record["tokens_per_s"] = round((record["tokens"] - done) / (time.monotonic() - started))
                bar.set_postfix(fvu=f"{record['fvu']:.3f}", dead=f"{record['dead_share']:.2f}")
                if checkpoints is not None:
                    checkpoints.log(record)
            if checkpoints is not None and config.checkpoint_steps and trainer.step % config.checkpoint_steps == 0:
                checkpoints.write(trainer.step, *trainer.state())
    sae = trainer.export(model_name=model_name, layer=layer, metadata=metadata)
    if checkpoints is not None:
        sae.save(checkpoints.folder)
        checkpoints.finish()
    return sae


class TopKTrainer:
    """The state of a training run: weights, optimiser, buffer, dead counts. `train_topk` drives it.

    Weights are the module's own, except that W_enc's transpose is contiguous: the sparse backward works by latents.
    """

    def __init__(self, source: StateSource, config: TopKTraining) -> None:
        self.config = config
        self.step = 0
        self.mean, self.scale, self.variance = _statistics(source, config)
        self.sae = _initial(source.d_model, config, self.mean).to(config.device)
        self.mean = self.mean.to(config.device)
        self.optimizer = torch.optim.AdamW(
            self.sae.parameters(),
            lr=config.learning_rate,
            betas=(0.9, 0.999),
            eps=6e-10,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.buffer = ShuffleBuffer(
            source, batch_tokens=config.batch_tokens, capacity=config.buffer_tokens, seed=config.seed
        )
        self.tokens_since_fired = torch.zeros(config.n_latents, dtype=torch.int64, device=config.device)
        self.silent_steps = 0
        self.bfloat16 = _fast_bfloat16(config.device) if config.bfloat16 is None else config.bfloat16

    def train_step(self, batch: Tensor) -> dict[str, float] | None:
        """One step on states [tokens, d_model]; returns metrics where this step is to be logged."""
        config, sae = self.config, self.sae
        batch = batch.to(config.device)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * config.rate(self.step)
        states = (batch - self.mean) / self.scale if config.normalise_input else batch
        dead = None
        if config.aux_coefficient:
            dead = torch.nonzero(self.tokens_since_fired >= config.dead_after_tokens).flatten()
        codes = encode_topk(
            states,
            sae.b_dec,
            sae.W_enc,
            sae.b_enc,
            config.k,
            dead=dead if dead is not None and len(dead) else None,
            aux_k=config.aux_k or 2 * config.k,
            bfloat16=self.bfloat16,
        )
        reconstruction = decode_topk(codes.values, codes.latents, sae.W_dec) + sae.b_dec
        loss = squared_error(states, reconstruction)
        aux = torch.zeros(())
        if codes.dead_latents.shape[1]:
            rebuilt = decode_topk(codes.dead_values, codes.dead_latents, sae.W_dec)
            aux = squared_error(states - reconstruction.detach(), rebuilt)
        total = loss + config.aux_coefficient * aux
        self._check(batch, total)
        (total / self.variance if config.normalise_loss else total).backward()
        norm = self._update()
        self._count(codes.values.detach(), codes.latents)
        self.step += 1
        if self.step % config.log_steps and self.step != config.steps:
            return None
        metrics = reconstruction_metrics(states, reconstruction.detach(), codes.values.detach())
        return {
            "step": self.step,
            "tokens": self.step * config.batch_tokens,
            "loss": float(loss.detach()),
            "aux_loss": float(aux.detach()),
            **metrics._asdict(),
            "dead_share": dead_share(self.tokens_since_fired, config.dead_after_tokens),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "gradient_norm": norm,
        }

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that the next step depends on, as tensors and JSON values."""
        tensors = {f"sae.{name}": value.detach() for name, value in self.sae.named_parameters()}
        for name, parameter in self.sae.named_parameters():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"adam.{name}.{key}"] = value
        tensors["tokens_since_fired"] = self.tokens_since_fired
        tensors["mean"] = self.mean
        values = {
            "step": self.step,
            "position": self.buffer.state(),
            "scale": self.scale,
            "variance": self.variance,
            "silent_steps": self.silent_steps,
            "bfloat16": self.bfloat16,
        }
        return tensors, values

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Go back to a state that `state` returned."""
        for name, parameter in self.sae.named_parameters():
            parameter.data.copy_(tensors[f"sae.{name}"])
            prefix = f"adam.{name}."
            saved = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            # empty_like keeps the parameter's strides, which the fused optimiser wants
            self.optimizer.state[parameter] = {
                key: torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value.clone()
                for key, value in saved.items()
            }
        self.tokens_since_fired.copy_(tensors["tokens_since_fired"])
        self.mean.copy_(tensors["mean"])
        self.step, self.scale, self.variance = values["step"], values["scale"], values["variance"]
        self.silent_steps, self.bfloat16 = values["silent_steps"], values["bfloat16"]
        self.buffer.position = Position(**values["position"])

    def export(
        self, *, model_name: str | None = None, layer: int | None = None, metadata: dict[str, Any] | None = None
    ) -> SparseAutoencoder:
        """A copy of the SAE that reads states as they are.

        With input normalisation, x' = (x - m) / s. TopK commutes with a positive factor, so latents in the states' own
        scale, s z', need only other biases: b_enc -> s b_enc and b_dec -> s b_dec + m.
        """
        factor = self.scale if self.config.normalise_input else 1.0
        offset = self.mean if self.config.normalise_input else torch.zeros_like(self.mean)
        with torch.no_grad():
            return SparseAutoencoder(
                self.sae.W_enc.clone(),
                self.sae.b_enc * factor,
                self.sae.W_dec.clone(),
                self.sae.b_dec * factor + offset,
                TopK(self.config.k),
                SaeConfig(
                    d_model=self.sae.config.d_model,
                    n_latents=self.config.n_latents,
                    model_name=model_name,
                    layer=layer,
                    hook_name=None if layer is None else f"blocks.{layer}.hook_resid_post",
                    metadata={
                        **(metadata or {}),
                        "training": asdict(self.config),
                        "tokens": self.step * self.config.batch_tokens,
                    },
                ),
                apply_b_dec_to_input=True,
            ).cpu()

    def _check(self, batch: Tensor, loss: Tensor) -> None:
        if math.isfinite(float(loss.detach())):
            return
        if not bool(torch.isfinite(batch).all()):
            raise InputError(
                f"step {self.step + 1}: the token states hold NaN or infinity; run the backbone in float32 or bfloat16"
            )
        raise InputError(
            f"step {self.step + 1}: the loss is {float(loss.detach())}; lower learning_rate "
            f"(now {self.config.learning_rate:g}) or raise warmup_steps"
        )

    def _update(self) -> float:
        """Gradient step that keeps the decoder's rows at length 1; returns the gradient's norm before clipping."""
        W_dec = self.sae.W_dec
        with torch.no_grad():
            assert W_dec.grad is not None
            # moving along itself would only lengthen a row, which the normalisation takes back
            W_dec.grad.addcmul_(W_dec, (W_dec.grad * W_dec).sum(dim=1, keepdim=True), value=-1)
            norm = torch.nn.utils.clip_grad_norm_(self.sae.parameters(), self.config.clip_norm)
            self.optimizer.step()
            self.optimizer.zero_grad()
            torch.nn.functional.normalize(W_dec, dim=1, out=W_dec)
        return float(norm)

    def _count(self, values: Tensor, latents: Tensor) -> None:
        fired = latents[values > 0].long()
        self.tokens_since_fired += len(values)
        self.tokens_since_fired[fired] = 0
        self.silent_steps = 0 if len(fired) else self.silent_steps + 1
        if self.silent_steps >= _SILENT_STEPS:
            raise InputError(
                f"step {self.step + 1}: no latent has fired for {_SILENT_STEPS} steps; lower learning_rate "
                f"(now {self.config.learning_rate:g}), raise warmup_steps, or set centre and normalise_input to true"
            )


def squared_error(states: Tensor, reconstruction: Tensor) -> Tensor:
    """Squared error, summed over dimensions and averaged over tokens: [tokens, d_model] -> scalar."""
    return (states - reconstruction).pow(2).sum(dim=1).mean()


def _statistics(source: StateSource, config: TopKTraining) -> tuple[Tensor, float, float]:
    """Mean [d_model], mean distance from it, and the mean squared distance in the space that is trained in."""
    parts, count = [], 0
    for part in source.chunks(0, 0):
        parts.append(part.float())
        count += len(part)
        if count >= _STATISTICS_TOKENS:
            break
    if count == 0:
        raise InputError("the source of token states is empty; check that the texts are read")
    states = torch.cat(parts)
    if not bool(torch.isfinite(states).all()):
        raise InputError("the token states hold NaN or infinity; run the backbone in float32 or bfloat16")
    mean = states.mean(dim=0)
    distance = (states - mean).norm(dim=1)
    scale = float(distance.mean())
    variance = float(distance.pow(2).mean())
    if variance == 0:
        raise InputError("all token states are equal; there is nothing to learn from them")
    return mean, scale, variance / scale**2 if config.normalise_input else variance


def _initial(d_model: int, config: TopKTraining, mean: Tensor) -> SparseAutoencoder:
    """Kaiming-uniform encoder, its transpose with rows of length 1 as decoder, zero biases, as SAE-SPLADE starts."""
    generator = torch.Generator().manual_seed(config.seed)
    rows = torch.empty(config.n_latents, d_model)
    # torch's default for a linear layer (a = sqrt 5) over the fan-out, which for [d_model, n_latents] is d_model
    torch.nn.init.uniform_(rows, -1 / math.sqrt(d_model), 1 / math.sqrt(d_model), generator=generator)
    centred = config.centre and not config.normalise_input
    return SparseAutoencoder(
        rows.T,
        torch.zeros(config.n_latents),
        torch.nn.functional.normalize(rows, dim=1),
        mean.clone() if centred else torch.zeros(d_model),
        TopK(config.k),
        SaeConfig(d_model, config.n_latents),
        apply_b_dec_to_input=True,
    )


def _fast_bfloat16(device: str) -> bool:
    """Whether this processor multiplies bfloat16 matrices itself; emulated, they would be slower than float32."""
    if not device.startswith("cpu"):
        return True
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(supported())
