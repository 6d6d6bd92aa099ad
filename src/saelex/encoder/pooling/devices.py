"""Which object has a device's operations. A further device, or a further way on one, is one file and one line here."""

from __future__ import annotations

import logging
import os
from functools import cache

import torch
from torch import Tensor

from saelex.encoder.head import LinearHead
from saelex.encoder.pooling.cpu import CpuOperations
from saelex.encoder.pooling.cuda import CudaOperations
from saelex.encoder.pooling.operations import HeadOperations
from saelex.encoder.pooling.triton import TritonOperations, unread
from saelex.errors import InputError

logger = logging.getLogger(__name__)

PLAIN = "torch"
OPERATIONS: dict[str, HeadOperations] = {
    "cpu": CpuOperations(),
    "cuda": CudaOperations(),
    "triton": TritonOperations(),
    PLAIN: HeadOperations(),
}
"""By device type, and "triton", for CUDA devices too; "torch" runs on every device, and is the own of all others."""

CUDA_HEAD = "SAELEX_CUDA_HEAD"
"""The environment variable that says whose operations CUDA devices use: "triton" or "cuda"."""


def operations_of(hidden: Tensor, head: LinearHead) -> HeadOperations:
    """The own operations of the device that the hidden states are on.

    CUDA devices take Triton's kernels for half precision, where they read hidden states and head; else those of
    PyTorch, and one line of the log says why. `$SAELEX_CUDA_HEAD` has the last word.
    Raises InputError where that names kernels that cannot do it, or none.
    """
    kind = hidden.device.type
    if kind == "cuda":
        kind = _on_cuda(hidden, head)
    return OPERATIONS.get(kind, OPERATIONS[PLAIN])


def operations_named(name: str, hidden: Tensor, head: LinearHead) -> HeadOperations:
    """One of `OPERATIONS`. Raises InputError where they cannot pool these hidden states with this head."""
    if name == "triton":
        if reason := unread(hidden, head):
            raise InputError(f"pooling by 'triton' is not possible: {reason}")
    elif name not in (PLAIN, hidden.device.type):
        raise InputError(f"pooling by {name!r} reads tensors on a {name} device, and these are on {hidden.device}")
    return OPERATIONS[name]


def _on_cuda(hidden: Tensor, head: LinearHead) -> str:
    chosen = os.environ.get(CUDA_HEAD)
    if chosen not in (None, "", "triton", "cuda"):
        raise InputError(f"{CUDA_HEAD} is triton or cuda, not {chosen!r:.40}")
    if chosen == "cuda":
        return chosen
    reason = unread(hidden, head)
    if chosen == "triton" and reason:
        raise InputError(f"{CUDA_HEAD} is triton, but {reason}")
    if not chosen and reason is None and hidden.dtype == torch.float32:
        reason = "in float32, Triton's kernels have no tensor cores to use"
    if reason:
        _say(reason)
    return "cuda" if reason else "triton"


@cache
def _say(reason: str) -> None:
    """Once for each reason."""
    logger.warning("the head takes PyTorch's products on this GPU: %s", reason)
