"""What the formats share: what is asked of a reader, tensors by name, and hook names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from saelex.errors import InputError
from saelex.reading.tensors import check_weights
from saelex.sae.parts import SaeParts

RAW = "raw"


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


def take(tensors: Mapping[str, Tensor], names: Iterable[str], path: Path) -> list[Tensor]:
    """The named tensors, each read once: checked to be there and to be weights (`check_weights`). Raises InputError."""
    names = list(names)
    present(tensors, names, path)
    taken = [tensors[name] for name in names]
    for name, tensor in zip(names, taken):
        check_weights(tensor, name, path)
    return taken


def present(tensors: Mapping[str, Tensor], names: Iterable[str], path: Path) -> None:
    """Raises InputError unless the file has all the tensors."""
    if missing := [name for name in names if name not in tensors]:
        held = ", ".join(sorted(tensors)) or "nothing"
        raise InputError(f"{path}: lacks {', '.join(missing)} (it holds {held}); it is not this kind of SAE")


def refuse_left_over(tensors: Mapping[str, Tensor], known: Iterable[str], path: Path) -> None:
    """Raises InputError for a tensor besides the known ones: it would change the latents, and is not read."""
    if unknown := sorted(set(tensors) - set(known)):
        raise InputError(f"{path}: holds {unknown[0]!r:.60}, which is no part of this kind of SAE; load the right file")


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


def layer_of_hook(hook_name: str | None) -> int | None:
    """The block, from 0, whose output a residual-stream hook names; None for other places and unknown names.

    `hook_resid_pre` of block 3 is the output of block 2; Hugging Face's module `layers.3` gives the output of block 3.
    """
    if hook_name is None:
        return None
    if found := re.fullmatch(r"blocks\.(\d{1,6})\.hook_resid_(pre|post)", hook_name):
        layer = int(found.group(1)) - (found.group(2) == "pre")
        return layer if layer >= 0 else None
    found = re.fullmatch(r"(?:.*\.)?(?:layers?|h)\.(\d{1,6})", hook_name)
    return int(found.group(1)) if found else None
