"""Which object has a device's operations. A further device, or a further way on one, is one file and one line here."""

from __future__ import annotations

import torch

from saelex.encoder.pooling.cpu import CpuOperations
from saelex.encoder.pooling.cuda import CudaOperations
from saelex.encoder.pooling.operations import HeadOperations
from saelex.errors import InputError

PLAIN = "torch"
OPERATIONS: dict[str, HeadOperations] = {"cpu": CpuOperations(), "cuda": CudaOperations(), PLAIN: HeadOperations()}
"""By device type; "torch" runs on every device, and is the own of those that have no other."""


def operations_of(device: torch.device) -> HeadOperations:
    """The device's own operations."""
    return OPERATIONS.get(device.type, OPERATIONS[PLAIN])


def operations_named(name: str, device: torch.device) -> HeadOperations:
    """One of `OPERATIONS`. Raises InputError for those of another device."""
    if name not in (PLAIN, device.type):
        raise InputError(f"pooling by {name!r} reads tensors on a {name} device, and these are on {device}")
    return OPERATIONS[name]
