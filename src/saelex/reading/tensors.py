"""Files of tensors: safetensors, and what torch.save wrote. Tensors only, never code."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from saelex.errors import InputError
from saelex.reading.regular import one_error, regular_file

WEIGHT_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""What weights are computed from. Narrower floats need scales that lie elsewhere; complex numbers are none."""
LARGEST_WEIGHT = 1e15
"""Weights beyond this are damage: their products with states would overflow float32."""

_SAFETENSORS = "a readable safetensors file"
_AGAIN = "download it again"
_ZIP = b"PK\x03\x04"  # how torch.save's files begin since 1.6; older ones cannot be memory-mapped


class SafetensorsFile(Mapping[str, Tensor]):
    """Name -> tensor of a safetensors file, memory-mapped and read when asked for. metadata: its header's strings.

    Raises InputError if it is missing, damaged or another kind of file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        regular_file(self.path)
        with one_error(path, _SAFETENSORS, _AGAIN):
            self._file: Any = safe_open(path, framework="pt")
            self._names = dict.fromkeys(self._file.keys())
            self.metadata: dict[str, str] = dict(self._file.metadata() or {})

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        with one_error(self.path, _SAFETENSORS, _AGAIN):
            tensor: Tensor = self._file.get_tensor(name)
        return tensor

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def weights(self, name: str) -> Tensor:
        """The tensor, checked as `check_weights` does. Raises InputError where there is none of this name."""
        if name not in self._names:
            raise InputError(f"{self.path}: lacks {name}; {_AGAIN}")
        return check_weights(self[name], name, self.path)


def read_safetensors(path: Path) -> SafetensorsFile:
    """All tensors of a safetensors file, by name. Raises InputError if it is missing, damaged or another kind."""
    return SafetensorsFile(path)


def read_pt(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that torch.save wrote of a dictionary, by name; memory-mapped where it is a zip file.

    A zip's checksums are compared: torch.load does not look at them. Raises InputError if the file is missing or
    damaged, holds no dictionary of tensors, or anything whose reading runs code.
    """
    regular_file(path)
    with one_error(path, "a readable PyTorch file", _AGAIN):
        try:
            held = _load(path)
        except pickle.UnpicklingError as error:
            if found := re.search(r"GLOBAL (\S+)", str(error)):
                raise InputError(
                    f"{path}: holds more than tensors ({found.group(1)}), and reading that could run code; "
                    "use a safetensors version, or convert it where you trust it"
                ) from error
            raise
    named = isinstance(held, dict) and all(isinstance(name, str) for name in held)
    tensors = {name: value for name, value in held.items() if isinstance(value, Tensor)} if named else {}
    if not tensors:
        raise InputError(f"{path}: does not hold a dictionary of tensors; it is not this kind of file")
    size = path.stat().st_size
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise InputError(f"{path}: {name!r:.60} is a tensor of another kind than dense numbers; {_AGAIN}")
        if tensor.numel() * tensor.element_size() > size:  # one number under a stride of 0, say
            raise InputError(f"{path}: {name!r:.60} claims more numbers than the file holds; {_AGAIN}")
    return tensors


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        zipped = file.read(len(_ZIP)) == _ZIP
    if zipped:
        status = path.stat()
        _check_sums(path, status.st_size, status.st_mtime_ns, status.st_ino)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pickle protocols: what cannot be read raises
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)


@lru_cache(maxsize=64)
def _check_sums(path: Path, *state: int) -> None:
    """Raises BadZipFile where a member's checksum differs; a file in the same state is asked once in a process."""
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"the checksum of {damaged} differs")


def check_weights(tensor: Tensor, name: str, path: str | Path) -> Tensor:
    """The tensor. Raises InputError unless it holds finite numbers of one of WEIGHT_DTYPES, none beyond LARGEST_WEIGHT.

    Reads every number once.
    """
    if tensor.dtype not in WEIGHT_DTYPES:
        raise InputError(f"{path}: {name} holds {tensor.dtype} numbers, not weights; download the file again")
    if not is_sane(tensor):
        raise not_sane(path, name)
    return tensor


def is_sane(tensor: Tensor) -> bool:
    """Whether there is neither NaN nor infinity nor anything beyond LARGEST_WEIGHT in a tensor; it is read once."""
    if not tensor.numel():
        return True
    lowest, highest = tensor.detach().aminmax()  # both NaN where one number is
    return float(lowest) >= -LARGEST_WEIGHT and float(highest) <= LARGEST_WEIGHT


def not_sane(path: str | Path, name: str) -> InputError:
    """The error for a tensor that `is_sane` refuses."""
    return InputError(f"{path}: {name} holds NaN or infinity, or numbers beyond 1e15; download the file again")
