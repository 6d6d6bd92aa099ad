"""What tensors hold, as a hash: the piece of every fingerprint that is computed from values."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from torch import Tensor

_ROWS_AT_A_TIME = 8192


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
