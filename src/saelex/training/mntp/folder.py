"""The folders of an MNTP run: checkpoints beside the output while it runs, a Hugging Face checkpoint at the end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from saelex import __version__
from saelex.errors import InputError
from saelex.files import check_own, making_folder, sha256_of
from saelex.reading.json_object import read_json
from saelex.training.checkpoints import last_checkpoint
from saelex.training.mntp.model import Loaded

FACTS = "saelex_mntp.json"
FORMAT = "saelex-mntp/1"
BASE_MODEL = "saelex_base_model"
"""Key of config.json: the model that mntp adapted, whose SAEs fit."""

_SETTINGS = "settings.json"
_FREE = ("log_every", "save_every", "device")  # settings of `training` that may differ when a run goes on


class Workspace:
    """`.<output>.training` beside the output: the settings of an unfinished run, and its last checkpoint.

    settings: JSON values; a run is resumed only with the same ones.
    """

    def __init__(self, output: Path, settings: dict[str, Any]) -> None:
        self.output = output
        self.folder = output.with_name(f".{output.name}.training")
        self.settings = settings

    def check(self, resume: bool) -> None:
        """Raises InputError for an output that is there already, and for an unfinished run that is not this one."""
        if self.output.exists() and (not self.output.is_dir() or any(self.output.iterdir())):
            raise InputError(f"{self.output}: exists already; choose another folder or delete it")
        check_own(self.folder, _SETTINGS)
        if last_checkpoint(self.folder) is None:
            return
        if not resume:
            raise InputError(f"{self.folder}: holds an unfinished run; resume it, or delete the folder")
        recorded = read_json(self._record)
        for name, value in self.settings.items():
            if recorded.get(name) != value and name.split(".")[-1] not in _FREE:
                raise InputError(
                    f"{self.folder}: the unfinished run has {name}={recorded.get(name)}, not {value}; keep the "
                    "setting, or delete the folder to start again"
                )

    def begin(self) -> str | None:
        """The checkpoint to go on from; where there is none, a fresh folder without what a run left behind."""
        checkpoint = last_checkpoint(self.folder)
        if checkpoint is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            self._record.write_text(json.dumps(self.settings, indent=2) + "\n", encoding="utf-8")
        return None if checkpoint is None else str(checkpoint)

    def finish(self, loaded: Loaded, model: Any, facts: dict[str, Any]) -> None:
        """Write the output, whole or not at all, and drop the workspace."""
        with making_folder(self.output) as made:
            write_folder(made, loaded, model, facts)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _record(self) -> Path:
        return self.folder / _SETTINGS


def write_folder(folder: Path, loaded: Loaded, model: Any, facts: dict[str, Any]) -> None:
    """config.json as the base model's, weights, tokenizer, and saelex_mntp.json with `facts`.

    The switches of bidirectional attention are not in config.json: whoever loads the folder sets them, as for the base.
    """
    model.save_pretrained(folder)
    base = loaded.checkpoint.settings
    settings = {name: value for name, value in base.items() if name != "torch_dtype"} | {
        "architectures": [type(model).__name__],
        "dtype": str(model.dtype).removeprefix("torch."),
        BASE_MODEL: facts["base"]["model"],
    }
    (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    loaded.tokenizer.save_pretrained(folder)
    hashes = {path.name: sha256_of(path) for path in sorted(folder.glob("*.safetensors"))}
    record = {"format": FORMAT, "versions": _versions(), **facts, "weights_sha256": hashes}
    (folder / FACTS).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _versions() -> dict[str, str]:
    import transformers

    return {"saelex": __version__, "torch": torch.__version__, "transformers": transformers.__version__}
