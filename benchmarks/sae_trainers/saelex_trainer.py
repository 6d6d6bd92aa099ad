"""saelex's SaeTrainer, step by step on the given batches."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from sae_trainers.course import AUX_COEFFICIENT, Reconstruct, Task, run
from saelex.sae.training.buffer import ArrayStates
from saelex.sae.training.settings import SaeTraining
from saelex.sae.training.trainer import SaeTrainer


def train(task: Task, batches: Iterator[Tensor], states: Tensor) -> Reconstruct:
    settings = SaeTraining(
        n_latents=task.width,
        k=task.k,
        tokens=task.tokens,
        batch_tokens=task.batch,
        learning_rate=task.learning_rate,
        warmup_steps=task.total_steps // 10,
        aux_coefficient=AUX_COEFFICIENT if task.dead_after else 0,
        aux_k=states.shape[1] // 2,  # as the other two have it
        dead_after_tokens=task.dead_after or task.tokens + 1,
    )
    trainer = SaeTrainer(ArrayStates(states), settings)
    for batch in batches:
        trainer.train_step(batch)
    sae = trainer.export()
    return lambda given: sae(given).reconstruction


if __name__ == "__main__":
    run(train, "saelex")
