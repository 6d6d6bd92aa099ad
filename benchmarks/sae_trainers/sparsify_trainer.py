"""sparsify's Trainer.fit with one of its optimisers (the setting), on a model that hands out the given states.

Its trainer reads hidden states off a transformer while that runs on a dataset. Here the dataset's items are whole
batches, and the "transformer" passes the current one through the module that the trainer hooks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from types import SimpleNamespace

import torch
from sparsify import SparseCoderConfig, TrainConfig, Trainer
from torch import Tensor, nn

from sae_trainers.course import AUX_COEFFICIENT, Reconstruct, Task, run


class GivenStates(nn.Module):
    """Dataset and model in one: item i takes the next batch, the model's forward lets it through `states`."""

    device = torch.device("cpu")

    def __init__(self, batches: Iterator[Tensor], task: Task, d_model: int) -> None:
        super().__init__()
        self.states = nn.Identity()
        self.config = SimpleNamespace(num_hidden_layers=1)
        self.batches, self.steps = batches, task.total_steps
        self.current = torch.zeros(1, 1, d_model)
        self.dummy_inputs = {"input_ids": torch.zeros(1, 1, dtype=torch.int64)}

    @property
    def base_model(self) -> GivenStates:
        return self

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, _: int) -> dict[str, Tensor]:
        self.current = next(self.batches)[None]  # [1, batch, d]
        return {"input_ids": torch.zeros(self.current.shape[1], dtype=torch.int64)}

    def forward(self, input_ids: Tensor) -> Tensor:
        passed: Tensor = self.states(self.current)
        return passed


def train(task: Task, batches: Iterator[Tensor], states: Tensor) -> Reconstruct:
    given = GivenStates(batches, task, states.shape[1])
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            SparseCoderConfig(num_latents=task.width, k=task.k),
            batch_size=1,
            optimizer=task.setting,
            lr=task.learning_rate if task.setting == "adam" else None,  # None: its own choice by width
            lr_warmup_steps=task.total_steps // 10,
            auxk_alpha=AUX_COEFFICIENT if task.dead_after else 0,
            dead_feature_threshold=task.dead_after,
            hookpoints=["states"],
            save_every=task.total_steps + 2,
            log_to_wandb=False,
            save_dir=folder,
        )
        trainer = Trainer(config, given, given)
        trainer.fit()
    if task.setting == "signum":
        trainer.optimizers[0].eval()  # schedule-free: the averaged weights are the trained ones
    sae = trainer.saes["states"]
    return lambda states: sae(states).sae_out


if __name__ == "__main__":
    run(train, "eai-sparsify")
