"""What tensors and settings hold, as hashes: the pieces that every fingerprint is computed from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

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
