"""What the formats share: reading files with one clear error each, and hook names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from saelex.errors import InputError
from saelex.sae.autoencoder import SparseAutoencoder

RAW = "raw"
_ROWS_AT_A_TIME = 4096


@dataclass(frozen=True)
class Wanted:
    """What is asked of a format's reader.

    source: what messages call the SAE, and what its configuration records. file: the file that was named itself, where
    one was. activation_scale: one of the format's `scales`. decoder: whether the decoder's weights are read, too.
    """

    source: str
    file: Path | None = None
    activation_scale: str = RAW
    decoder: bool = True


@dataclass(frozen=True)
class SaeFormat:
    """One published layout of an SAE's files.

    files: patterns of all that belongs to one SAE, relative to its folder; a folder is recognised by the `required`
        ones, of which one may be many SAEs' (`layer*.sae.pt`): then the file itself is to be named.
    read: folder, what is wanted -> the SAE.
    scales: activation scales that `read` can give.
    """

    name: str
    files: tuple[str, ...]
    required: tuple[str, ...]
    read: Callable[[Path, Wanted], SparseAutoencoder]
    scales: tuple[str, ...] = (RAW,)

    def recognises(self, folder: Path, file: Path | None = None) -> bool:
        """Whether the folder holds this format's files, and the named one, if any, is among them."""
        belongs = file is None or any(file.match(pattern) for pattern in self.files)
        return belongs and all(any(folder.glob(pattern)) for pattern in self.required)


def the_file(folder: Path, pattern: str, wanted: Wanted) -> Path:
    """The file named, or the folder's only one of this pattern. Raises InputError where there are several."""
    if wanted.file is not None and wanted.file.match(pattern):
        return wanted.file
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:3]) + (", ..." if len(found) > 3 else "")
        raise InputError(f"{wanted.source}: holds {len(found)} SAEs ({names}); name one of these files")
    return found[0]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises InputError naming the file."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable SAE configuration ({error}); download it again") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: not a JSON object; download it again")
    return values


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, memory-mapped. Raises InputError if it is missing, damaged or another kind."""
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error}); download it again") from error


def take(tensors: Mapping[str, Tensor], names: Iterable[str], path: Path) -> list[Tensor]:
    """The named tensors, checked to be there and finite. Raises InputError otherwise."""
    names = list(names)
    if missing := [name for name in names if name not in tensors]:
        held = ", ".join(sorted(tensors)) or "nothing"
        raise InputError(f"{path}: lacks {', '.join(missing)} (it holds {held}); it is not this kind of SAE")
    for name in names:
        if not is_finite(tensors[name]):
            raise InputError(f"{path}: {name} holds NaN or infinity; download the file again")
    return [tensors[name] for name in names]


def is_finite(tensor: Tensor) -> bool:
    """Whether there is neither NaN nor infinity in a tensor; it is read once, a few rows at a time."""
    some_rows = tensor.split(_ROWS_AT_A_TIME) if tensor.ndim else (tensor,)
    return all(bool(torch.isfinite(rows).all()) for rows in some_rows)


def setting(values: Mapping[str, Any], name: str, path: Path) -> Any:
    """A setting that must be there. Raises InputError naming file and setting."""
    if values.get(name) is None:
        raise InputError(f"{path}: lacks the setting {name!r}; it is not this kind of SAE")
    return values[name]


def layer_of_hook(hook_name: str | None) -> int | None:
    """The block, from 0, whose output a residual-stream hook names; None for other places and unknown names.

    `hook_resid_pre` of block 3 is the output of block 2; Hugging Face's module `layers.3` gives the output of block 3.
    """
    if hook_name is None:
        return None
    if found := re.fullmatch(r"blocks\.(\d+)\.hook_resid_(pre|post)", hook_name):
        layer = int(found.group(1)) - (found.group(2) == "pre")
        return layer if layer >= 0 else None
    found = re.fullmatch(r"(?:.*\.)?(?:layers?|h)\.(\d+)", hook_name)
    return int(found.group(1)) if found else None
