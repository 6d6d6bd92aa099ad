"""Retrieval training on Hugging Face's Trainer: its loop, checkpoints, accelerate, DDP and logs; our step.

A step's loss is one number of the whole effective batch: FLOPS is a square of means over all texts, which no sum of
parts gives. So a batch that is computed in parts (`training.accumulation_steps`) takes gradient caching (Gao et al.
2021): vectors of all parts without gradient, the loss and its gradient for all vectors at once, then every part
again with its share of that gradient. Statistics over several processes are summed with gradients (`ranks`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from saelex.encoder.encoder import Encoder
from saelex.errors import InputError
from saelex.reading.json_object import log_until
from saelex.reading.regular import one_error, regular_file
from saelex.reading.tensors import read_safetensors
from saelex.sae.activations import TopK
from saelex.training.examples.mixing import MixedExamples
from saelex.training.retrieval import ranks
from saelex.training.retrieval.batch import Collator, RetrievalBatch
from saelex.training.retrieval.guards import Guards
from saelex.training.retrieval.model import RetrievalModel, Vectors
from saelex.training.retrieval.objective import Objective, Outcome
from saelex.training.retrieval.recipe import RetrievalRecipe
from saelex.training.retrieval.schedules import annealed_k

WEIGHTS, STATE = "trainable.safetensors", "saelex_state.pt"


class RetrievalTrainer(Trainer):  # type: ignore[misc]
    """Trains a RetrievalModel on a stream of examples; made by `saelex.training.retrieval.run`.

    arguments: `max_steps` counts optimiser steps; gradient accumulation is ours, so theirs must be 1.
    examples: the endless stream; step i of rank r reads the same examples whenever it is run.
    """

    def __init__(
        self,
        model: RetrievalModel,
        arguments: TrainingArguments,
        recipe: RetrievalRecipe,
        examples: MixedExamples,
        collator: Collator,
        objective: Objective,
        callbacks: list[TrainerCallback],
    ) -> None:
        super().__init__(model=model, args=arguments, callbacks=callbacks)
        self.recipe = recipe
        self.examples = examples
        self.collator = collator
        self.objective = objective
        self.guards = Guards(recipe)
        self._module = model  # as it is, without what DDP or FSDP put around it
        gate = model.head.activation
        self._final_k = gate.k if isinstance(gate, TopK) else 0
        self._resumed_from: str | None = None
        self._sums: dict[str, float] = {}
        self._summed = 0

    # ---- one step ---------------------------------------------------------------------------------------------------

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward over this process' share of a batch; returns its loss."""
        if self._resumed_from is not None:  # theirs restores the generators only where it skips data itself
            self._load_rng_state(self._resumed_from)
            self._resumed_from = None
        model.train()
        batch = cast(RetrievalBatch, inputs["batch"]).to(self.args.device)
        step = int(self.state.global_step)
        self._anneal(step)
        run = self._at_once if len(batch.chunks) == 1 else self._in_parts
        outcome = run(model, batch, step)
        self._note(outcome)
        self.guards.check(step, outcome.loss.item(), outcome.queries, outcome.passages)
        return outcome.loss.detach()

    def _at_once(self, model: nn.Module, batch: RetrievalBatch, step: int) -> Outcome:
        vectors = model(batch.chunks[0])
        outcome = self.objective(vectors.queries, vectors.passages, batch, step, vectors.reconstruction)
        self.accelerator.backward(outcome.loss)
        return outcome

    def _in_parts(self, model: nn.Module, batch: RetrievalBatch, step: int) -> Outcome:
        states, found = [], []
        with torch.no_grad():
            for chunk in batch.chunks:
                states.append(_RandomState(self.args.device))
                found.append(_sides(model(chunk)))
        queries, passages = (torch.cat(side).requires_grad_() for side in zip(*found))
        outcome = self.objective(queries, passages, batch, step)
        outcome.loss.backward()
        assert queries.grad is not None and passages.grad is not None
        shares = (
            grad.split([len(one) for one in side]) for grad, side in zip((queries.grad, passages.grad), zip(*found))
        )
        last = len(batch.chunks) - 1
        for i, (chunk, random, *grads) in enumerate(zip(batch.chunks, states, *shares)):
            # the processes exchange gradients once, with the last part
            with nullcontext() if i == last else self.accelerator.no_sync(model), random:
                vectors = _sides(model(chunk))
                surrogate = sum(
                    ((one * grad).sum() for one, grad in zip(vectors, grads)), start=vectors[0].new_zeros(())
                )
                self.accelerator.backward(surrogate)
        return outcome

    def _anneal(self, step: int) -> None:
        settings = self.recipe.training
        if settings.token_k_start is not None:
            k = annealed_k(settings.token_k_start, self._final_k, step, settings.token_k_steps)
            self._module.head.activation = TopK(k)

    # ---- logs -------------------------------------------------------------------------------------------------------

    def _note(self, outcome: Outcome) -> None:
        for name, value in outcome.parts.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._summed += 1

    def log(self, logs: dict[str, float], *arguments: Any, **options: Any) -> None:
        """Adds the mean of the loss' parts since the last line."""
        if "loss" in logs and self._summed:
            logs = logs | {name: value / self._summed for name, value in self._sums.items()}
            self._sums, self._summed = {}, 0
        super().log(logs, *arguments, **options)

    # ---- data and optimiser -----------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> Any:
        """Batches from the step where the run stands; each process takes its own part of every batch."""
        size = self.recipe.training.batch_queries
        share = _Share(self.examples, self.collator, size, start=lambda: int(self.state.global_step))
        return DataLoader(share, batch_size=None)

    def create_optimizer(self, model: nn.Module | None = None) -> Any:
        """AdamW over what learns; head and decoder may have their own learning rate, vectors never decay."""
        settings = self.recipe.training
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in (model or self.model).named_parameters():
            if not parameter.requires_grad:
                continue
            in_head = name.removeprefix("module.").startswith(("head.", "decoder."))
            rate = settings.learning_rate
            if in_head and settings.head_learning_rate is not None:
                rate = settings.head_learning_rate
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
        self.optimizer = torch.optim.AdamW(
            [{"params": some, "lr": rate, "weight_decay": decay} for (rate, decay), some in groups.items()],
            betas=(settings.beta1, settings.beta2),
            eps=settings.epsilon,
        )
        return self.optimizer

    # ---- checkpoints ------------------------------------------------------------------------------------------------

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Only what learns, and the state of objective and guards: a backbone of billions stays where it is."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        named = dict(self._module.trainable())
        whole = {name: tensor for name, tensor in (state_dict or {}).items() if name in named}
        tensors = {name: whole.get(name, tensor).detach().cpu().contiguous() for name, tensor in named.items()}
        save_file(tensors, folder / WEIGHTS)
        state = {"objective": self.objective.state_dict(), "guards": self.guards.state_dict()}
        torch.save(state, folder / STATE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        folder = Path(resume_from_checkpoint)
        target = dict(self._module.trainable())
        stored = read_safetensors(folder / WEIGHTS)
        if stored.keys() != target.keys():
            raise InputError(f"{folder}: of another recipe; delete it or run with --no-resume")
        with one_error(folder, "a checkpoint of this recipe", "delete it or run with --no-resume"):
            with torch.no_grad():
                for name, parameter in target.items():
                    parameter.copy_(stored[name])
            state = torch.load(regular_file(folder / STATE), weights_only=True)
            self.objective.load_state_dict(state["objective"])
            self.guards.load_state_dict(state["guards"])
        self._resumed_from = str(folder)


def _sides(vectors: Vectors) -> tuple[Tensor, Tensor]:
    """What is a function of a batch's parts, one by one; `validate` keeps reconstruction to batches of one part."""
    return vectors.queries, vectors.passages


class _Share(IterableDataset[dict[str, RetrievalBatch]]):
    """This process' part of every batch, without end; start: the step to begin with, asked when that is known."""

    def __init__(
        self, examples: MixedExamples, collator: Collator, batch_queries: int, start: Callable[[], int]
    ) -> None:
        self.examples = examples
        self.collator = collator
        self.batch_queries = batch_queries
        self.start = start

    def __iter__(self) -> Iterator[dict[str, RetrievalBatch]]:
        size = self.batch_queries
        first, stop = ranks.share_of(size)
        stream = self.examples.stream(self.start() * size)
        while True:
            batch = [next(stream) for _ in range(size)]
            yield {"batch": self.collator(batch[first:stop])}


class _RandomState:
    """The generators as they were when this was made, within a `with`: dropout falls as it did before."""

    def __init__(self, device: torch.device) -> None:
        self._devices = [device] if device.type == "cuda" else []
        self._cpu = torch.get_rng_state()
        self._cuda = [torch.cuda.get_rng_state(one) for one in self._devices]

    def __enter__(self) -> None:
        self._fork = torch.random.fork_rng(self._devices)
        self._fork.__enter__()
        torch.set_rng_state(self._cpu)
        for device, state in zip(self._devices, self._cuda):
            torch.cuda.set_rng_state(state, device)

    def __exit__(self, *error: Any) -> None:
        self._fork.__exit__(*error)


class LogFile(TrainerCallback):  # type: ignore[misc]
    """Every line of the log as JSON, one a line; a resumed run cuts off what it is going to repeat."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep the lines up to the step that the run goes on from."""
        if not state.is_world_process_zero or not self.path.exists():
            return
        self.path.write_text("".join(f"{line}\n" for line in log_until(self.path, state.global_step)))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Append a line."""
        if state.is_world_process_zero and logs:
            with self.path.open("a") as file:
                file.write(json.dumps({"step": state.global_step, **logs}) + "\n")


class Progress(TrainerCallback):  # type: ignore[misc]
    """Measures the encoder under training every so many steps, and logs what it finds."""

    def __init__(
        self, trainer: RetrievalTrainer, encoder: Encoder, evaluate: Callable[[Encoder], dict[str, float]], every: int
    ) -> None:
        self.trainer = trainer
        self.encoder = encoder
        self.evaluate = evaluate
        self.every = every

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Every process measures the same, so that none waits for another; one of them logs."""
        if state.global_step % self.every == 0:
            self.trainer.log({f"dev {name}": value for name, value in self.evaluate(self.encoder).items()})
