"""What the formats share: reading files with one clear error each, and hook names."""

from __future__ import annotations

import math
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
from saelex.sae.parts import SaeParts

RAW = "raw"
_NUMBERS_AT_A_TIME = 1 << 26


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
    read: folder, what is wanted -> the SAE's parts.
    scales: activation scales that `read` can give.
    """

    name: str
    files: tuple[str, ...]
    required: tuple[str, ...]
    read: Callable[[Path, Wanted], SaeParts]
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


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, memory-mapped. Raises InputError if it is missing, damaged or another kind."""
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error}); download it again") from error


def take(tensors: Mapping[str, Tensor], names: Iterable[str], path: Path) -> list[Tensor]:
    """The named tensors, each read once: checked to be there, of a floating dtype, and finite. Raises InputError."""
    names = list(names)
    present(tensors, names, path)
    taken = [tensors[name] for name in names]
    for name, tensor in zip(names, taken):
        if not tensor.is_floating_point():
            raise InputError(f"{path}: {name} holds {tensor.dtype} numbers, not weights; download the file again")
        if not is_finite(tensor):
            raise not_finite(path, name)
    return taken


def present(tensors: Mapping[str, Tensor], names: Iterable[str], path: Path) -> None:
    """Raises InputError unless the file has all the tensors."""
    if missing := [name for name in names if name not in tensors]:
        held = ", ".join(sorted(tensors)) or "nothing"
        raise InputError(f"{path}: lacks {', '.join(missing)} (it holds {held}); it is not this kind of SAE")


def not_finite(path: Path, name: str) -> InputError:
    """The error for a tensor that `is_finite` refuses."""
    return InputError(f"{path}: {name} holds NaN or infinity; download the file again")


def is_finite(tensor: Tensor) -> bool:
    """Whether there is neither NaN nor infinity in a tensor; it is read once, some rows at a time."""
    if tensor.ndim == 0:
        return bool(torch.isfinite(tensor))
    rows = max(1, _NUMBERS_AT_A_TIME // max(tensor[:1].numel(), 1))
    # a sum passes NaN and infinity on, at the speed of memory; it can overflow as well, so it only ever acquits
    return all(bool(torch.isfinite(some.sum())) or bool(torch.isfinite(some).all()) for some in tensor.split(rows))


def matrix_shape(tensor: Tensor, name: str, path: Path) -> tuple[int, int]:
    """The shape of a tensor that must be a matrix. Raises InputError otherwise."""
    if tensor.ndim != 2:
        raise InputError(f"{path}: {name} has the shape {list(tensor.shape)}, not that of a matrix; download it again")
    return tensor.shape[0], tensor.shape[1]


def transposed(tensors: Mapping[str, Tensor], name: str, path: Path) -> Tensor:
    """The matrix of a torch.nn.Linear, [outputs, inputs] in the file, as [inputs, outputs] in the file's memory."""
    (matrix,) = take(tensors, [name], path)
    matrix_shape(matrix, name, path)
    return matrix.T


def setting(values: Mapping[str, Any], name: str, path: Path) -> Any:
    """A setting that must be there. Raises InputError naming file and setting."""
    if values.get(name) is None:
        raise InputError(f"{path}: lacks the setting {name!r}; it is not this kind of SAE")
    return values[name]


def number(values: Mapping[str, Any], name: str, path: Path) -> float:
    """A setting that must be a finite number. Raises InputError naming file and setting."""
    value = setting(values, name, path)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{path}: {name} is {value!r}, not a number; download the file again")
    return value


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
