"""Hugging Face's Trainer, for batches that are made already and a loss that is a mean over masked tokens."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainingArguments

from saelex.errors import InputError
from saelex.reading.regular import one_error
from saelex.reading.tensors import read_safetensors
from saelex.training.mntp.batches import MaskedBatches
from saelex.training.mntp.masking import MaskedBatch
from saelex.training.mntp.model import MaskedLanguageModel
from saelex.training.mntp.recipe import MntpTraining
from saelex.training.step_bar import StepBar

_WEIGHTS = "model.safetensors"


class MntpTrainer(Trainer):  # type: ignore[misc]
    """Trains a MaskedLanguageModel; a checkpoint holds the parameters that learn, and no others."""

    def __init__(
        self, model: MaskedLanguageModel, settings: MntpTraining, batches: MaskedBatches, steps: int, folder: Path,
        *, progress: bool,
    ) -> None:  # fmt: skip
        self.settings = settings
        super().__init__(
            model=model,
            args=training_arguments(settings, steps, folder),
            train_dataset=batches,
            data_collator=_only,
            callbacks=[StepBar("mntp", progress)],
        )
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW; the head has its own learning rate, and norms and biases have no weight decay."""
        settings = self.settings
        head = {id(parameter) for parameter in self.model.head_parameters()}
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                rate = settings.head_learning_rate if id(parameter) in head else None
                decay = settings.weight_decay if parameter.ndim > 1 else 0.0
                groups.setdefault((rate or settings.learning_rate, decay), []).append(parameter)
        self.optimizer = torch.optim.AdamW(
            [{"params": group, "lr": rate, "weight_decay": decay} for (rate, decay), group in groups.items()],
            fused=True,
        )
        return self.optimizer

    def compute_loss(
        self,
        model: nn.Module,
        inputs: MaskedBatch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """This process' part of the mean over all masked tokens of the step. Raises InputError where it is not finite.

        The parts are averaged over the processes afterwards, hence the factor.
        """
        items = max(1, int(num_items_in_batch)) if num_items_in_batch is not None else len(inputs["labels"])
        loss: Tensor = model(**inputs) * (self.args.world_size / items)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise InputError(
                f"step {self.state.global_step + 1}: the loss is {value}; lower training.learning_rate "
                f"(now {self.settings.learning_rate:g}) or head_learning_rate, raise training.warmup_share, "
                "or set dtype to float32"
            )
        return loss

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[int]:
        return torch.utils.data.SequentialSampler(self.train_dataset)  # the batches are shuffled already

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            learning = {name: value.detach().contiguous() for name, value in self._learning().items()}
            save_file(learning, folder / _WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        folder = Path(resume_from_checkpoint)
        stored = read_safetensors(folder / _WEIGHTS)
        with torch.no_grad(), one_error(folder, "a checkpoint of this recipe", "delete it to start again"):
            for name, parameter in self._learning().items():
                parameter.copy_(stored[name])

    def _learning(self) -> dict[str, nn.Parameter]:
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}


def training_arguments(settings: MntpTraining, steps: int, folder: Path) -> TrainingArguments:
    """Trainer's arguments for batches that hold the texts of a whole forward pass."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise InputError("training.device is cuda, and there is no GPU; set it to cpu or null")
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=1,  # one item is one batch of texts
        gradient_accumulation_steps=settings.accumulation_steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule if settings.schedule != "constant" else "constant_with_warmup",
        warmup_steps=math.ceil(steps * settings.warmup_share),
        max_grad_norm=settings.clip_norm,
        bf16=settings.bf16,
        seed=settings.seed,
        logging_steps=settings.log_every,
        logging_nan_inf_filter=False,
        save_strategy="steps" if settings.save_every else "no",
        save_steps=settings.save_every or steps,
        save_total_limit=1,
        average_tokens_across_devices=True,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=torch.cuda.is_available() and settings.device != "cpu",
        use_cpu=settings.device == "cpu",
        report_to=[],
        disable_tqdm=True,
    )
    if arguments.n_gpu > 1:  # several GPUs are used by `accelerate launch`, never by DataParallel
        arguments._n_gpu = 1
    return arguments


def _only(items: list[MaskedBatch]) -> MaskedBatch:
    return items[0]
