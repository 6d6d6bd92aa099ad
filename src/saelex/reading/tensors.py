"""Files of tensors: safetensors, and what torch.save wrote. Tensors only, never code.

A search reads safetensors as arrays and never imports torch, so torch is imported where a tensor is made.
"""

from __future__ import annotations

import json
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from saelex.errors import InputError
from saelex.files import fact_of
from saelex.reading.regular import one_error, regular_file

if TYPE_CHECKING:
    from torch import Tensor

WEIGHT_DTYPES = ("float16", "bfloat16", "float32", "float64")
"""What weights are computed from. Narrower floats need scales that lie elsewhere; complex numbers are none."""
LARGEST_WEIGHT = 1e15
"""Weights beyond this are damage: their products with states would overflow float32."""

_SAFETENSORS = "a readable safetensors file"
_AGAIN = "download it again"
_STORED_DTYPES: Mapping[str, str] = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
_FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_AT_A_TIME = 1 << 20  # numbers
_ZIP = b"PK\x03\x04"  # how torch.save's files begin since 1.6; older ones cannot be memory-mapped


class SafetensorsFile(Mapping[str, "Tensor"]):
    """Name -> tensor of a safetensors file, memory-mapped and read when asked for. metadata: its header's strings.

    `array` gives the same numbers without torch. Raises InputError if it is missing, damaged or another kind of file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        regular_file(self.path)
        with one_error(path, _SAFETENSORS, _AGAIN):
            # whatever the framework, this checks that the header and the file's size belong together
            file: Any = safe_open(path, framework="np")
            self._names = dict.fromkeys(file.keys())
            self.metadata: dict[str, str] = dict(file.metadata() or {})

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        with one_error(self.path, _SAFETENSORS, _AGAIN):
            tensor: Tensor = self._tensors.get_tensor(name)
        return tensor

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def weights(self, name: str) -> Tensor:
        """The tensor, checked as `check_weights` does. Raises InputError where there is none of this name."""
        self._check_named(name)
        return check_weights(self[name], name, self.path)

    # ---- without torch ----------------------------------------------------------------------------------------------

    def array(self, name: str) -> NDArray[Any]:
        """The numbers as an array: memory-mapped, read-only; bfloat16, which numpy lacks, as float32.

        Raises InputError where there is none of this name, or it holds numbers that numpy has not.
        """
        self._check_named(name)
        stored = self._stored(name)
        return _widened(stored) if self.dtype(name) == "bfloat16" else stored

    def weight_array(self, name: str) -> NDArray[Any]:
        """The array, checked as `check_weights` does: all of a file at once, and remembered with the file."""
        array = self.array(name)
        if self.dtype(name) not in WEIGHT_DTYPES:
            raise InputError(f"{self.path}: {name} holds {self.dtype(name)} numbers, not weights; {_AGAIN}")
        if name in self._damaged:
            raise not_sane(self.path, name)
        return array

    def dtype(self, name: str) -> str:
        """The dtype of a tensor, as torch and numpy call it; one that weights never have by the format's own name."""
        self._check_named(name)
        kind: str = self._header[name]["dtype"]
        return _FLOATS.get(kind, kind)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, whose numbers are not read."""
        self._check_named(name)
        return tuple(self._header[name]["shape"])

    def _check_named(self, name: str) -> None:
        if name not in self._names:
            raise InputError(f"{self.path}: lacks {name}; {_AGAIN}")

    def _stored(self, name: str) -> NDArray[Any]:
        """As stored: bfloat16 as its 16 bits."""
        entry = self._header[name]
        if entry["dtype"] not in _STORED_DTYPES:
            raise InputError(f"{self.path}: {name} holds {entry['dtype']} numbers, which are not read; {_AGAIN}")
        start, end = entry["data_offsets"]
        numbers: NDArray[Any] = self._data[start:end].view(_STORED_DTYPES[entry["dtype"]]).reshape(entry["shape"])
        return numbers

    @cached_property
    def _tensors(self) -> Any:
        return safe_open(self.path, framework="pt")

    @cached_property
    def _layout(self) -> tuple[dict[str, Any], int]:
        with one_error(self.path, _SAFETENSORS, _AGAIN), self.path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header: dict[str, Any] = json.loads(file.read(length))
        return header, 8 + length

    @property
    def _header(self) -> dict[str, Any]:
        return self._layout[0]

    @cached_property
    def _data(self) -> NDArray[np.uint8]:
        start = self._layout[1]
        if self.path.stat().st_size == start:  # nothing to map
            return np.zeros(0, np.uint8)
        with one_error(self.path, _SAFETENSORS, _AGAIN):
            return np.memmap(self.path, np.uint8, "r", start).view(np.ndarray)

    @cached_property
    def _damaged(self) -> frozenset[str]:
        """Names of the tensors of floats whose numbers are not sane."""

        def find() -> str:
            return json.dumps(
                [name for name in self._names if self.dtype(name) in WEIGHT_DTYPES and self._broken(name)]
            )

        return frozenset(json.loads(fact_of(self.path, "weights that are not finite numbers", find)))

    def _broken(self, name: str) -> bool:
        stored = self._stored(name).reshape(-1)
        for start in range(0, len(stored), _AT_A_TIME):
            some = stored[start : start + _AT_A_TIME]
            some = _widened(some) if self.dtype(name) == "bfloat16" else some
            # "not <=" instead of ">", for NaN
            if not (float(some.min()) >= -LARGEST_WEIGHT and float(some.max()) <= LARGEST_WEIGHT):
                return True
        return False


def _widened(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The float32 numbers whose upper halves are given."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def read_safetensors(path: Path) -> SafetensorsFile:
    """All tensors of a safetensors file, by name. Raises InputError if it is missing, damaged or another kind."""
    return SafetensorsFile(path)


def read_pt(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that torch.save wrote of a dictionary, by name; memory-mapped where it is a zip file.

    A zip's checksums are compared: torch.load does not look at them. Raises InputError if the file is missing or
    damaged, holds no dictionary of tensors, or anything whose reading runs code.
    """
    import torch
    from torch import Tensor

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
    import torch

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
    if str(tensor.dtype).removeprefix("torch.") not in WEIGHT_DTYPES:
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
