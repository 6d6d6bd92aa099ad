"""Random packed batches and heads for the pooling tests, and the margin around thresholds that they leave out."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from saelex.encoder.head import LinearHead
from saelex.encoder.pooling import PooledLatents, pool
from saelex.sae.activations import JumpReLU, ReLU, TopK

GATES = ("relu", "jumprelu", "topk")
without_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed: it has wheels for Linux alone"
)
TRITON = pytest.param("triton", marks=without_triton)
FUSED = ("fused", "torch")  # the CPU's own operations, and those of every device
# Triton's interpreter takes milliseconds a program; ReLU has JumpReLU's kernel, and blocks of sums are PyTorch's
TRITONS = [pytest.param("triton", gate, marks=without_triton) for gate in ("jumprelu", "topk")]
WAYS = [*((name, gate) for name in FUSED for gate in GATES), *TRITONS]
POOLED_WAYS = [(name, gate, pooling) for name in FUSED for gate in GATES for pooling in ("max", "sum")]
POOLED_WAYS += [pytest.param(*way.values, "max", marks=way.marks) for way in TRITONS]
D_MODEL = 24
LENGTHS = [5, 0, 1, 37, 3, 1, 0]  # ragged, with empty and single-token sequences


@dataclass
class Outcome:
    pooled: PooledLatents
    gradients: dict[str, Tensor]


def offsets_of(lengths: list[int]) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0)


def make_head(gate: str, n_latents: int = 300, *, d_model: int = D_MODEL, seed: int = 0, **settings) -> LinearHead:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(n_latents, d_model, generator=generator) / d_model**0.5
    bias = torch.randn(n_latents, generator=generator) / 3 - 0.3
    threshold = torch.rand(n_latents, generator=generator)
    activation = {"relu": ReLU(), "jumprelu": JumpReLU(threshold), "topk": TopK(6)}[gate]
    if settings.pop("scaled", False):
        settings["scale"] = torch.rand(n_latents, generator=generator) + 0.5
    return LinearHead(weight, bias, activation, **settings)


def latents_for(implementation: str) -> int:
    """Enough to cross the borders of blocks; Triton's tiles have tests of their own."""
    return 40 if implementation == "triton" else 300


def make_hidden(lengths: list[int], *, d_model: int = D_MODEL, seed: int = 1) -> Tensor:
    return torch.randn(sum(lengths), d_model, generator=torch.Generator().manual_seed(seed))


def safe_entries(hidden: Tensor, offsets: Tensor, head: LinearHead, margin: float = 1e-4) -> Tensor:
    """bool [sequences, latents]: entries none of whose tokens is near zero, a threshold, a TopK boundary or a rival.

    Products computed in blocks differ in their last bits from whole ones, and such entries may flip.
    """
    pre = hidden.double() @ head.weight.detach().double().t() + head.bias.detach().double()
    if head.scale is not None:
        pre = pre * head.scale.detach().double()
    near = pre.abs() < margin
    if isinstance(head.activation, JumpReLU):
        near |= (pre - head.activation.threshold.double()).abs() < margin
    if isinstance(head.activation, TopK):
        best = pre.topk(head.activation.k + 1, dim=1).values
        boundary = best[:, -2:].mean(dim=1, keepdim=True)
        near |= ((best[:, -2:-1] - best[:, -1:]) < 2 * margin) & ((pre - boundary).abs() < 2 * margin)
    safe = []
    for sequence, risky in zip(pre.tensor_split(offsets[1:-1]), near.tensor_split(offsets[1:-1])):
        enough = len(sequence) > 1
        rivals = (
            -sequence.topk(2, dim=0).values.diff(dim=0)[0] < margin if enough else torch.zeros(pre.shape[1], dtype=bool)
        )
        safe.append(~(risky.any(dim=0) | rivals))
    return torch.stack(safe)


def run(hidden: Tensor, offsets: Tensor, head: LinearHead, implementation: str, grad: Tensor) -> Outcome:
    """Pools, takes `grad` [sequences, latents] back, and returns the gradients of everything that learns."""
    hidden = hidden.detach().clone().requires_grad_()
    head.requires_grad_(True)
    head.zero_grad()
    pooled = pool(hidden, offsets, head, implementation)
    pooled.weights.backward(grad.to(pooled.weights.dtype))
    parameters = {name: p.grad.clone() for name, p in head.named_parameters() if p.grad is not None}
    return Outcome(pooled, {"hidden": hidden.grad, **parameters})
