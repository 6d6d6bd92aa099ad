"""Gates as the training libraries store them, in the form of `SparseAutoencoder`'s own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from saelex.errors import InputError
from saelex.sae.activations import Activation, JumpReLU, TopK
from saelex.sae.formats.common import take


class Gate(NamedTuple):
    """What stands between the product with W_enc and the latents."""

    bias: Tensor  # [n_latents]
    activation: Activation
    scale: Tensor | None = None  # [n_latents], of the product


def vectors(tensors: Mapping[str, Tensor], names: Iterable[str], length: int, path: Path) -> list[Tensor]:
    """The named tensors, each [length], float32 or wider. Raises InputError where one is missing or not so shaped."""
    names = list(names)
    taken = take(tensors, names, path)
    for name, tensor in zip(names, taken):
        if tensor.shape != (length,):
            raise InputError(
                f"{path}: {name} has the shape {list(tensor.shape)}, not [{length}]; "
                "the file is damaged or its configuration belongs to another SAE"
            )
    return [tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in taken]


def gated(b_gate: Tensor, b_mag: Tensor, r_mag: Tensor) -> Gate:
    """A Gated SAE's gate (Rajamanoharan et al. 2024a) as the JumpReLU it is; all [n_latents].

    With u = x W_enc and a = exp(r_mag): z = relu(a u + b_mag) where u + b_gate > 0. As a > 0 that is where
    a u + b_mag > b_mag - a b_gate, the threshold, which the gate holds at 0 or more, as the relu does.
    """
    magnitude = r_mag.double().exp()
    threshold = b_mag.double() - magnitude * b_gate.double()
    return Gate(b_mag, JumpReLU(threshold.float()), magnitude.float())


def batch_topk(bias: Tensor, tensors: Mapping[str, Tensor], name: str, path: Path) -> Gate:
    """BatchTopK with the threshold that it learnt while it was trained: a JumpReLU with one threshold for all latents.

    Raises InputError where none was learnt: the k largest of a batch depend on what else is in the batch.
    """
    threshold = take(tensors, [name], path)[0].float().reshape(-1) if name in tensors else torch.zeros(1)
    if len(threshold) != 1 or not float(threshold) > 0:
        raise InputError(
            f"{path}: a BatchTopK SAE without a learnt {name}, whose latents would depend on the other tokens of the "
            "batch; train it past the step where the threshold starts, or save it as a topk SAE with the same k"
        )
    return Gate(bias, JumpReLU(threshold))


def topk(bias: Tensor, k: object, path: Path) -> Gate:
    """TopK, k as a file has it. Raises InputError where it is no positive whole number."""
    if isinstance(k, bool) or not isinstance(k, (int, float)) or not k >= 1 or k % 1 != 0:
        raise InputError(f"{path}: k is {k!r:.60}, not a whole number of latents per token")
    if k > len(bias):
        raise InputError(f"{path}: k is {k}, and there are {len(bias)} latents; its configuration is of another SAE")
    return Gate(bias, TopK(int(k)))
