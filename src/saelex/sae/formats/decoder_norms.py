"""The lengths of a decoder's vectors: read from the file in small pieces once, then remembered beside it.

A gate that compares what a latent writes (OpenMOSS: `sparsity_include_decoder_norm`) needs them; the encoder of a
Llama Scope SAE would otherwise cost a gigabyte of decoder at every load.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from saelex.errors import InputError
from saelex.files import cache_folder, replacing
from saelex.reading.regular import one_error
from saelex.reading.tensors import SafetensorsFile, is_sane, not_sane

_BYTES_AT_A_TIME = 1 << 22
_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}


def decoder_norms(path: Path, name: str, shape: tuple[int, int], latents: int) -> Tensor:
    """float32 [n_latents]: the length of each latent's vector in the decoder `name` of a safetensors file.

    latents: the dimension of `shape` that counts them.

    They are remembered in `<file>.decoder_norms.safetensors` beside the file, by its size and modification time. Where
    that folder cannot be written, or the file is a link (the hub's cache, whose folders are the hub's), in the user's
    cache. The lengths are finite only if the decoder is: whoever has them need not look for NaN in it.

    Raises InputError for a decoder of another shape or dtype, or with NaN or infinity.
    """
    status = path.stat()
    state = {"size": str(status.st_size), "mtime_ns": str(status.st_mtime_ns), "tensor": name}
    places = _places(path)
    for place in places:
        known = _remembered(place, state)
        if known is not None and known.shape == (shape[latents],):
            return known
    norms = _stream(path, name, shape, latents)
    if not is_sane(norms):
        raise not_sane(path, name)
    for place in places:
        with suppress(OSError, SafetensorError):
            place.parent.mkdir(parents=True, exist_ok=True)
            with replacing(place) as temporary:
                save_file({"norms": norms}, temporary, metadata=state)
            break
    return norms


def _places(path: Path) -> list[Path]:
    """Where the lengths may be remembered, the best first."""
    key = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
    own = cache_folder() / "decoder_norms" / f"{key}.safetensors"
    return [own] if path.is_symlink() else [path.with_suffix(".decoder_norms.safetensors"), own]


def _remembered(place: Path, state: dict[str, str]) -> Tensor | None:
    try:
        file = SafetensorsFile(place)
        norms = file["norms"].clone() if file.metadata == state and "norms" in file else None
    except InputError:
        return None
    return norms if norms is not None and norms.dtype == torch.float32 and is_sane(norms) else None


def _stream(path: Path, name: str, shape: tuple[int, int], latents: int) -> Tensor:
    squares = torch.zeros(shape[latents], dtype=torch.float64)
    start = 0
    for rows in _rows(path, name, shape):  # [some, shape[1]]
        energy = rows.square_()
        if latents == 1:
            squares += energy.sum(dim=0)
        else:
            squares[start : start + len(rows)] = energy.sum(dim=1).double()
        start += len(rows)
    return squares.sqrt_().float()


def _rows(path: Path, name: str, shape: tuple[int, int]) -> Iterator[Tensor]:
    """The matrix in float32 or wider, some rows at a time, each piece the caller's to overwrite.

    All go through one buffer: mapped pages would count as this process's memory.
    """
    with path.open("rb", buffering=0) as file:
        with one_error(path, "a readable safetensors file", "download it again"):
            (length,) = struct.unpack("<Q", file.read(8))
            entry = json.loads(file.read(length))[name]
            dtype = _DTYPES.get(entry["dtype"])
        if dtype is None or tuple(entry["shape"]) != shape:
            raise InputError(
                f"{path}: {name} is {entry['dtype']} {entry['shape']}, not a matrix of the shape {list(shape)}; "
                "the file is damaged or its configuration belongs to another SAE"
            )
        file.seek(8 + length + entry["data_offsets"][0])
        row_bytes = shape[1] * dtype.itemsize
        rows_at_a_time = min(max(1, _BYTES_AT_A_TIME // row_bytes), shape[0])
        buffer = bytearray(rows_at_a_time * row_bytes)
        wide = torch.empty(rows_at_a_time, shape[1], dtype=torch.promote_types(dtype, torch.float32))
        for start in range(0, shape[0], rows_at_a_time):
            some = memoryview(buffer)[: min(rows_at_a_time, shape[0] - start) * row_bytes]
            if file.readinto(some) != len(some):
                raise InputError(f"{path}: ends within {name}; download the file again")
            rows = torch.frombuffer(some, dtype=dtype).view(-1, shape[1])
            yield wide[: len(rows)].copy_(rows)
