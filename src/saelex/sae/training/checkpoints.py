"""The output folder of a training run: checkpoints written whole or not at all, and a log that fits them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from saelex.errors import InputError
from saelex.files import making_folder
from saelex.reading.json_object import log_until, read_json
from saelex.reading.tensors import read_safetensors

_PREFIX = "checkpoint-"
_FREE = ("checkpoint_steps", "log_steps", "log_to")  # settings that may differ when a run goes on


class Checkpoints:
    """Folder of one run: `metrics.jsonl`, at most one `checkpoint-<step>` folder, and in the end the SAE.

    config: the run's settings; a run is resumed only with the same ones.
    """

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.folder = folder
        self.config = config

    def begin(self, resume: bool) -> None:
        """Prepare the folder. Raises InputError for a finished SAE in it, or an unfinished run unless resuming."""
        if (self.folder / "cfg.json").exists():
            raise InputError(f"{self.folder}: holds a finished SAE; choose another output folder or delete it")
        if self._steps() and not resume:
            raise InputError(f"{self.folder}: holds an unfinished run; resume it, or choose another output folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        for partial in self.folder.glob(f".{_PREFIX}*"):
            shutil.rmtree(partial)
        last = max(self._steps(), default=0)
        if self._log.exists():  # lines after the last checkpoint will be written again
            self._log.write_text("".join(f"{line}\n" for line in log_until(self._log, last)), encoding="utf-8")

    def latest(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and values of the last checkpoint, or None. Raises InputError if it is of another configuration."""
        step = max(self._steps(), default=None)
        if step is None:
            return None
        folder = self._at(step)
        try:
            header = read_json(folder / "state.json")
            config, values = header.object("config"), header.object("values")
            tensors = dict(read_safetensors(folder / "state.safetensors"))
        except InputError as error:
            raise InputError(f"{folder}: not a readable checkpoint ({error}); delete it to start again") from error
        for name, setting in self.config.items():
            if name not in _FREE and config.get(name) != setting:
                raise InputError(
                    f"{folder}: was made with {name}={config.get(name)}, not {setting}; "
                    "keep the setting, or choose another output folder"
                )
        return tensors, values

    def write(self, step: int, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Write a checkpoint beside the others, rename it into place, then drop the older ones."""
        header = {"config": self.config, "values": values}
        with making_folder(self._at(step)) as made:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, made / "state.safetensors")
            (made / "state.json").write_text(json.dumps(header, indent=2) + "\n", encoding="utf-8")
        self._drop(step)

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line to metrics.jsonl; the values name their step."""
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def close(self) -> None:
        """Nothing is kept open."""

    def finish(self) -> None:
        """Drop the checkpoints of a finished run."""
        self._drop(None)

    def _drop(self, kept: int | None) -> None:
        for step in self._steps():
            if step != kept:
                shutil.rmtree(self._at(step))

    @property
    def _log(self) -> Path:
        return self.folder / "metrics.jsonl"

    def _at(self, step: int) -> Path:
        return self.folder / f"{_PREFIX}{step}"

    def _steps(self) -> list[int]:
        return [int(path.name.removeprefix(_PREFIX)) for path in self.folder.glob(f"{_PREFIX}*")]
