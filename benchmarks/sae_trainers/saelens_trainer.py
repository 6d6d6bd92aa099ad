"""SAELens' SAETrainer.fit on a TopKTrainingSAE. Settings: dense, sparse (activations), autocast (bfloat16)."""

from __future__ import annotations

from collections.abc import Iterator

from sae_lens import SAETrainer, TopKTrainingSAE, TopKTrainingSAEConfig
from sae_lens.config import SAETrainerConfig
from torch import Tensor

from sae_trainers.course import AUX_COEFFICIENT, Reconstruct, Task, run


def train(task: Task, batches: Iterator[Tensor], states: Tensor) -> Reconstruct:
    sae = TopKTrainingSAE(
        TopKTrainingSAEConfig(
            d_in=states.shape[1],
            d_sae=task.width,
            k=task.k,
            use_sparse_activations=task.setting == "sparse",
            rescale_acts_by_decoder_norm=task.setting != "sparse",  # its backward fails on sparse tensors of the CPU
            aux_loss_coefficient=AUX_COEFFICIENT,
        )
    )
    steps = task.total_steps
    config = SAETrainerConfig(
        total_training_samples=task.tokens,
        train_batch_size_samples=task.batch,
        lr=task.learning_rate,
        lr_end=task.learning_rate / 10,
        lr_warm_up_steps=steps // 10,
        lr_decay_steps=steps // 5,
        autocast=task.setting == "autocast",
        # in steps; a latent never dies in a window longer than the run
        dead_feature_window=task.dead_after // task.batch if task.dead_after else steps + 1,
    )
    trained = SAETrainer(config, sae, batches).fit()
    return lambda states: trained.decode(trained.encode(states))


if __name__ == "__main__":
    run(train, "sae-lens")
