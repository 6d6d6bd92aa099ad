"""What tensors and settings hold, as hashes: the pieces that every fingerprint is computed from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

_ROWS_AT_A_TIME = 8192


def json_digest(value: Any) -> str:
    """sha256 over a JSON value, whatever the order of its keys; a key whose value is null counts as missing."""
    text = json.dumps(value)
    known = json.loads(text, object_pairs_hook=lambda pairs: {key: item for key, item in pairs if item is not None})
    return sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, shapes and float32 values, whatever the dtype and device of the tensors."""
    digest = sha256()
    for name in sorted(tensors):
        values = tensors[name].detach()
        digest.update(f"{name} {list(values.shape)}".encode())
        # some rows at a time: a bfloat16 head of some gigabytes is not to be widened as a whole
        for some in values.split(_ROWS_AT_A_TIME) if values.ndim else (values,):
            digest.update(some.cpu().float().contiguous().numpy().data)
    return digest.hexdigest()


def arrays_digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """`tensors_digest` of the tensors with these values."""
    digest = sha256()
    for name in sorted(arrays):
        values = arrays[name]
        digest.update(f"{name} {list(values.shape)}".encode())
        for start in range(0, len(values), _ROWS_AT_A_TIME) if values.ndim else (0,):
            some = values[start : start + _ROWS_AT_A_TIME] if values.ndim else values
            digest.update(np.ascontiguousarray(some, np.float32).tobytes())
    return digest.hexdigest()


def head_digest(config: Mapping[str, Any], values: str) -> str:
    """sha256 over a head's shape and the digest of its tensors' values, whatever the dtype they are stored in."""
    shape = {key: value for key, value in config.items() if key not in ("dtype", "sha256", "digest")}
    return sha256((json.dumps(shape, sort_keys=True) + values).encode()).hexdigest()
