"""numpy's files: `.npy`, and the arrays of an `.npz`, each read when it is asked for. Numbers only, never objects."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from saelex.reading.regular import one_error, regular_file

if TYPE_CHECKING:
    from torch import Tensor

_AGAIN = "download it again"
_BYTES_AT_A_TIME = 1 << 24


class _Header(NamedTuple):
    shape: tuple[int, ...]
    by_columns: bool
    dtype: np.dtype[Any]

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class Npz(Mapping[str, "Tensor"]):
    """Name -> array, as a tensor. Raises InputError where the file is damaged or none.

    An array that is stored as it is (`numpy.savez`) is memory-mapped where it begins at a multiple of its numbers'
    size, as torch needs. A zip aligns nothing: three of four float32 arrays do not, and are read instead, each byte
    once. Compressed ones are unpacked. The zip's checksums are compared for all of them.
    """

    def __init__(self, path: Path) -> None:
        self._path = regular_file(path)
        with self._one_error(), zipfile.ZipFile(path) as file:
            self._members = {member.filename.removesuffix(".npy"): member for member in file.infolist()}
            if len(self._members) != len(file.infolist()):
                raise zipfile.BadZipFile("a member is there twice")

    def __getitem__(self, name: str) -> Tensor:
        from torch import from_numpy

        member = self._members[name]
        with self._one_error(), zipfile.ZipFile(self._path) as archive:
            with archive.open(member) as file:
                header = _header(file)
                start = file.tell()
                if start + header.n_bytes != member.file_size:
                    raise ValueError(f"{name} has not the size that it claims")
                if member.compress_type == zipfile.ZIP_STORED:
                    while file.read(_BYTES_AT_A_TIME):  # past the checksum, which zipfile compares at the end
                        pass
                    array = self._stored(member, header, start)
                else:
                    array = np.frombuffer(bytearray(file.read()), header.dtype)
            return from_numpy(array.reshape(header.shape, order="F" if header.by_columns else "C"))

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def _stored(self, member: zipfile.ZipInfo, header: _Header, skipped: int) -> NDArray[Any]:
        with self._path.open("rb") as file:
            file.seek(member.header_offset + 26)  # of the local header: the lengths of the name and of the extra field
            name_length, extra_length = np.frombuffer(file.read(4), "<u2").tolist()
        start = member.header_offset + 30 + name_length + extra_length + skipped
        count = math.prod(header.shape)
        if count and start % header.dtype.itemsize == 0:
            return np.memmap(self._path, header.dtype, "c", start, (count,))
        return np.fromfile(self._path, header.dtype, count, offset=start)

    def _one_error(self) -> Any:
        return one_error(self._path, "a readable npz file", _AGAIN)


def read_npy(path: Path, *, mmap: bool = False, remedy: str = "make it again") -> NDArray[Any]:
    """The array of an `.npy` file, memory-mapped if so told. Raises InputError where the file is damaged or none."""
    regular_file(path)
    with one_error(path, "a readable npy file", remedy):
        with path.open("rb") as file:
            header = _header(file)
            if path.stat().st_size - file.tell() < header.n_bytes:
                raise ValueError("it has not the size that it claims")
        array: NDArray[Any] = np.load(path, mmap_mode="r" if mmap and header.n_bytes else None, allow_pickle=False)
    return array


def _header(file: IO[bytes]) -> _Header:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    header = _Header(*read(file))
    if header.dtype.hasobject or header.dtype.kind not in "biufcUS" or not header.dtype.itemsize:
        raise ValueError(f"it holds {'Python objects' if header.dtype.hasobject else header.dtype}, not numbers")
    if any(isinstance(length, bool) or length < 0 for length in header.shape):
        raise ValueError(f"it claims the shape {header.shape}")
    return header
