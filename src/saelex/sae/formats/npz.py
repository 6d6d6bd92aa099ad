"""The arrays of an npz file: each is read when it is asked for, straight to where it stays."""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from saelex.errors import InputError

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, then the lengths of the name and of the extra field after it
_DAMAGE = (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile, struct.error)


class Npz(Mapping[str, Tensor]):
    """Name -> array, as a tensor. Raises InputError where the file is damaged or none.

    An array that is stored as it is (`numpy.savez`) is memory-mapped where it begins at a multiple of its numbers'
    size, as torch needs. A zip aligns nothing: three of four float32 arrays do not, and are read instead, each byte
    once, past the zip's checksum. Compressed ones are unpacked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with zipfile.ZipFile(path) as file:
                self._members = {member.filename.removesuffix(".npy"): member for member in file.infolist()}
        except _DAMAGE as error:
            raise self._unreadable(error) from error

    def __getitem__(self, name: str) -> Tensor:
        member = self._members[name]
        try:
            if member.compress_type == zipfile.ZIP_STORED:
                return torch.from_numpy(self._stored(member))
            with np.load(self._path, allow_pickle=False) as arrays:
                return torch.from_numpy(arrays[name])
        except _DAMAGE as error:
            raise self._unreadable(error) from error

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def _stored(self, member: zipfile.ZipInfo) -> NDArray[Any]:
        with self._path.open("rb") as file:
            file.seek(member.header_offset)
            signature, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
            if signature != b"PK\x03\x04":
                raise zipfile.BadZipFile(f"no member at byte {member.header_offset}")
            file.seek(name_length + extra_length, 1)
            version = npy.read_magic(file)
            read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, by_columns, dtype = read_header(file)
            start = file.tell()
        if dtype.hasobject:
            raise ValueError("it holds Python objects")
        if start % dtype.itemsize == 0:
            return np.memmap(self._path, dtype, "c", start, shape, "F" if by_columns else "C")
        numbers = np.fromfile(self._path, dtype, math.prod(shape), offset=start)
        return numbers.reshape(shape, order="F" if by_columns else "C")

    def _unreadable(self, error: Exception) -> InputError:
        return InputError(f"{self._path}: not a readable npz file ({error}); download it again")
