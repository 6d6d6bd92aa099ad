"""The state of a training run, and its step."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import Tensor

from saelex.errors import InputError
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.config import SaeConfig
from saelex.sae.metrics import dead_share, reconstruction_metrics
from saelex.sae.topk_function import fast_bfloat16
from saelex.sae.training.buffer import Position, ShuffleBuffer, StateSource
from saelex.sae.training.guards import Counts, Guards
from saelex.sae.training.objective import Now, Outcome
from saelex.sae.training.objectives import OBJECTIVES
from saelex.sae.training.processes import Processes, share_of
from saelex.sae.training.schedule import learning_rate, sparsity
from saelex.sae.training.settings import SaeTraining
from saelex.sae.training.statistics import Statistics, estimate

_DECAYED = ("W_enc", "b_enc", "W_dec", "b_dec")


class Saved(NamedTuple):
    """Everything that the next step depends on, as tensors and JSON values."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]


class SaeTrainer:
    """The state of a training run: weights, optimiser, buffer, dead counts. `train_sae` drives it.

    source: all states; with several processes each trains on its own share of the chunks.
    saved: where to go on from; None begins. The states' statistics are estimated only at the beginning.
    Raises InputError where there are no states to learn from, or `saved` is of another number of processes.
    """

    def __init__(
        self,
        source: StateSource,
        settings: SaeTraining,
        processes: Processes | None = None,
        saved: Saved | None = None,
    ) -> None:
        self.settings = settings
        self.processes = processes = processes or Processes()
        if settings.batch_tokens % (settings.accumulate * processes.count):
            raise InputError(
                f"batch_tokens={settings.batch_tokens} does not split into {processes.count} processes' "
                f"accumulate={settings.accumulate} parts"
            )
        source = share_of(source, processes)
        self.step = 0
        self.statistics = _statistics(saved) if saved else processes.from_main(lambda: estimate(source))
        mean, distance, variance = self.statistics
        normalised = settings.normalise_input
        self.variance = variance / distance**2 if normalised else variance  # of the states that are trained on
        self.mean = mean.to(settings.device)
        start = mean if settings.centre and not normalised else torch.zeros_like(mean)
        self.sae = OBJECTIVES[settings.gate](settings, source.d_model, start, self.variance).to(settings.device)
        self.optimizer = torch.optim.AdamW(
            self._parameter_groups(),
            lr=settings.learning_rate,
            betas=(0.9, 0.999),
            eps=6e-10,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.buffer = ShuffleBuffer(
            source,
            batch_tokens=settings.batch_tokens // processes.count,
            capacity=settings.buffer_tokens,
            seed=settings.seed,
        )
        self.tokens_since_fired = torch.zeros(settings.n_latents, dtype=torch.int64, device=settings.device)
        self.guards = Guards(settings)
        self.bfloat16 = _bfloat16(settings)
        if saved:
            self._restore(saved)

    def train_step(self, batch: Tensor) -> dict[str, float] | None:
        """One step on this process's states [tokens, d_model]; returns metrics where this step is to be logged."""
        settings = self.settings
        batch = batch.to(settings.device)
        rate = settings.learning_rate * learning_rate(settings, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        now = Now(self._dead(), sparsity(settings, self.step), self.bfloat16)
        parts = [(states, self._backward(states, now)) for states in self._normalised(batch).chunk(settings.accumulate)]
        outcomes = [outcome for _, outcome in parts]
        averages = self._averages(outcomes)
        self.guards.check_loss(self.step, averages["total"], batch)
        norm = self._update()
        self.sae.observe(averages, self.step)
        self._count(outcomes, len(batch) * self.processes.count)
        self.guards.check_silence(self.step, bool((self.tokens_since_fired == 0).any()))
        if "l0" in averages:
            self.guards.check_density(self.step, float(averages["l0"]))
        self.step += 1
        if self.step % settings.log_steps and self.step != settings.steps:
            return None
        return {
            "step": self.step,
            "tokens": self.step * settings.batch_tokens,
            **{name: float(value) for name, value in averages.items() if name != "total"},
            **self._metrics(parts),
            "dead_share": dead_share(self.tokens_since_fired, settings.dead_after_tokens),
            "learning_rate": rate,
            "gradient_norm": norm,
        }

    def state(self) -> Saved:
        """Where the run stands; all processes ask together."""
        tensors = {f"sae.{name}": value.detach() for name, value in self.sae.state_dict().items()}
        for name, parameter in self.sae.named_parameters():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"adam.{name}.{key}"] = value
        tensors["tokens_since_fired"] = self.tokens_since_fired
        tensors["mean"] = self.statistics.mean
        values = {
            "step": self.step,
            "positions": self.processes.everyones(self.buffer.state()),
            "distance": self.statistics.distance,
            "variance": self.statistics.variance,
            "guards": asdict(self.guards.counts),
            "bfloat16": self.bfloat16,
        }
        return Saved(tensors, values)

    def export(
        self,
        *,
        model_name: str | None = None,
        layer: int | None = None,
        hook_name: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> SparseAutoencoder:
        """A copy of the SAE that reads states as they are.

        With input normalisation, x' = (x - m) / s. Every gate commutes with a positive factor (a threshold is scaled by
        it), so latents in the states' own scale, s z', need only other biases: b_enc -> s b_enc, b_dec -> s b_dec + m.
        """
        normalised = self.settings.normalise_input
        factor = self.statistics.distance if normalised else 1.0
        offset = self.mean if normalised else torch.zeros_like(self.mean)
        facts = {
            **(metadata or {}),
            "training": asdict(self.settings),
            "tokens": self.step * self.settings.batch_tokens,
        }
        if normalised:
            facts["folded_input"] = {"mean_length": float(self.mean.norm()), "scale": factor}
        config = SaeConfig(
            d_model=len(self.mean),
            n_latents=self.settings.n_latents,
            model_name=model_name,
            layer=layer,
            hook_name=hook_name,
            metadata=facts,
        )
        with torch.no_grad():
            return SparseAutoencoder(
                self.sae.W_enc.clone(),
                self.sae.b_enc * factor,
                self.sae.W_dec.clone(),
                self.sae.b_dec * factor + offset,
                self.sae.gate(factor),
                config,
                apply_b_dec_to_input=True,
            ).cpu()

    def _normalised(self, batch: Tensor) -> Tensor:
        return (batch - self.mean) / self.statistics.distance if self.settings.normalise_input else batch

    def _dead(self) -> Tensor | None:
        """Dead latents that AuxK is to revive."""
        if not (self.settings.sparse and self.settings.aux_coefficient):
            return None
        dead = torch.nonzero(self.tokens_since_fired >= self.settings.dead_after_tokens).flatten()
        return dead if len(dead) else None

    def _backward(self, states: Tensor, now: Now) -> Outcome:
        outcome: Outcome = self.sae(states, now)
        loss = outcome.loss / self.variance if self.settings.normalise_loss else outcome.loss
        (loss / self.settings.accumulate).backward()
        return outcome._replace(loss=outcome.loss.detach())

    def _averages(self, outcomes: list[Outcome]) -> dict[str, Tensor]:
        """The total loss and the outcomes' parts, averaged over micro-batches and processes."""
        names = ["total", *outcomes[0].parts]
        rows = [torch.stack([outcome.loss, *outcome.parts.values()]) for outcome in outcomes]
        means = torch.stack(rows).mean(dim=0)
        self.processes.average([means])
        return dict(zip(names, means))

    @torch.no_grad()
    def _update(self) -> float:
        """Gradient step that keeps the decoder's rows at length 1; returns the gradient's norm before clipping."""
        W_dec = self.sae.W_dec
        assert W_dec.grad is not None
        self.processes.average(parameter.grad for parameter in self.sae.parameters() if parameter.grad is not None)
        # moving along itself would only lengthen a row, which the normalisation takes back
        W_dec.grad.addcmul_(W_dec, (W_dec.grad * W_dec).sum(dim=1, keepdim=True), value=-1)
        norm = torch.nn.utils.clip_grad_norm_(self.sae.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        self.sae.drop_gradients()
        torch.nn.functional.normalize(W_dec, dim=1, out=W_dec)
        return float(norm)

    def _count(self, outcomes: list[Outcome], tokens: int) -> None:
        fired = torch.stack([outcome.fired for outcome in outcomes]).any(dim=0)
        self.tokens_since_fired += tokens
        self.tokens_since_fired.masked_fill_(fired, 0)
        self.processes.minimum(self.tokens_since_fired)

    def _metrics(self, parts: list[tuple[Tensor, Outcome]]) -> dict[str, float]:
        """Quality of the reconstruction: the mean over micro-batches and processes of each one's own."""
        rows = [
            torch.tensor(reconstruction_metrics(states, outcome.reconstruction, outcome.values), device=states.device)
            for states, outcome in parts
        ]
        means = torch.stack(rows).mean(dim=0)
        self.processes.average([means])
        return dict(zip(("fvu", "l0", "cosine"), means.tolist()))

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Weights and biases, which decay, and an objective's own parameters, which do not."""
        named = dict(self.sae.named_parameters())
        groups: list[dict[str, Any]] = [{"params": [named.pop(name) for name in _DECAYED]}]
        return [*groups, {"params": list(named.values()), "weight_decay": 0.0}] if named else groups

    def _restore(self, saved: Saved) -> None:
        tensors, values = saved
        positions = values["positions"]
        if len(positions) != self.processes.count:
            raise InputError(
                f"the checkpoint is of {len(positions)} processes, not {self.processes.count}; use as many"
            )
        own = {name.removeprefix("sae."): value for name, value in tensors.items() if name.startswith("sae.")}
        self.sae.load_state_dict(own)
        for name, parameter in self.sae.named_parameters():
            prefix = f"adam.{name}."
            moments = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            # empty_like keeps the parameter's strides, which the fused optimiser wants
            self.optimizer.state[parameter] = {
                key: torch.empty_like(parameter).copy_(value)
                if value.shape == parameter.shape
                else value.to(parameter.device)
                for key, value in moments.items()
            }
        self.tokens_since_fired.copy_(tensors["tokens_since_fired"])
        self.step, self.bfloat16 = values["step"], values["bfloat16"]
        self.guards.counts = Counts(**values["guards"])
        self.buffer.position = Position(**positions[self.processes.rank])


def _statistics(saved: Saved) -> Statistics:
    return Statistics(saved.tensors["mean"], saved.values["distance"], saved.values["variance"])


def _bfloat16(settings: SaeTraining) -> bool:
    """Whether products are in bfloat16: asked for, or, where that only proposes candidates, fast on this device."""
    if settings.bfloat16 is not None or not settings.sparse:
        return bool(settings.bfloat16)
    return fast_bfloat16(settings.device)
