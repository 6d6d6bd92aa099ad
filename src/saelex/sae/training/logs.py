"""Where metrics go besides metrics.jsonl."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from saelex.errors import InputError
from saelex.installation import install_command


class Log(Protocol):
    """Takes one record of numbers after another."""

    def record(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files under `<output>/tensorboard`."""

    def __init__(self, folder: Path, config: dict[str, Any], first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # a run that goes on writes some steps again; purge_step hides the earlier ones
        self._writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step)

    def record(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run named after the output folder, taken up again where the last one in this folder was killed."""

    def __init__(self, folder: Path, config: dict[str, Any], first_step: int) -> None:
        import wandb

        self._run: Any = wandb.init(
            project="saelex", name=folder.resolve().name, dir=str(folder), config=config, resume="auto"
        )

    def record(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


_LOGS: dict[str, type[TensorBoard] | type[WeightsAndBiases]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def open_log(name: str, folder: Path, config: dict[str, Any], first_step: int) -> Log:
    """A log of an output folder. Raises InputError where its package is not installed."""
    try:
        return _LOGS[name](folder, config, first_step)
    except ImportError as error:
        raise InputError(f"log_to has {name}, which is not installed: {install_command(name)}") from error
