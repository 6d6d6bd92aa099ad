"""What made a model, kept in its folder: recipe, log and facts of the training, under `training/`.

They are read with the model, whole, and written again with it, so that a model that is labelled, averaged or given
statistics still tells where it came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from saelex.errors import InputError

TRAINING = "training"


def read_extra_files(folder: Path) -> dict[str, bytes]:
    """Content of every file under `training/`, by its name relative to the folder."""
    files = sorted(path for path in (folder / TRAINING).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def write_extra_files(files: Mapping[str, bytes | str], folder: Path) -> None:
    """Write the files into the folder. Raises InputError for a name that does not lie under `training/`."""
    for name, content in files.items():
        parts = PurePosixPath(name).parts
        if len(parts) < 2 or parts[0] != TRAINING or ".." in parts:
            raise InputError(f"extra file {name!r}: its name is to be relative and under {TRAINING}/")
        path = folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
