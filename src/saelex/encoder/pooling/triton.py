"""The head's operations on NVIDIA GPUs by Triton's kernels (`triton_kernels`): products stay in registers."""

from __future__ import annotations

import importlib.util
import math
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from saelex.encoder.head import LinearHead
from saelex.encoder.pooling.cuda import CudaOperations
from saelex.encoder.pooling.operations import Entries
from saelex.installation import install_command
from saelex.sae.activations import TopK

MOST_PER_TOKEN = 256
"""The largest k of a TopK gate: a token's best latents stay in registers."""

_DTYPES = (torch.bfloat16, torch.float16, torch.float32)
_VERSION = (3, 4)  # the first with tensor descriptors
_OLDEST = (8, 0)  # compute capability with bfloat16 tensor cores: A100
_DESCRIBING = (9, 0)  # from H100 on, the GPU copies tiles by tensor descriptors
_ALIGNED = 16  # bytes; what descriptors read begins and has rows at multiples of this
_PROGRAMS = 1024  # at least so many, where the problem has them, for some 100 to 150 multiprocessors
_RUN = 2048  # tokens of whole sequences that a program goes through at most
_PARTS = 8  # parts of the latents that programs share, at least
_FEW_TOKENS = 4096  # below, tiles are chosen apart
_ENTRIES, _COLUMNS = 8, 1024  # of a tile of `sum_rows`
_GROUP = 8  # tiles that go through all runs or parts together
_launching = threading.Lock()  # a tuned kernel keeps its call's arguments in itself


class Tile(NamedTuple):
    """What one program computes at a time: tokens x latents, and d_model a step; warps and stages of its pipeline."""

    tokens: int
    latents: int
    step: int
    warps: int
    stages: int


def tiles(kernel: str, dtype: torch.dtype, slots: int = 0) -> list[Tile]:
    """The tiles that are tried on the first call of a kernel with a size; the fastest is kept.

    slots: registers of a token's best latents, in `token_topk`: the more, the fewer tokens.
    """
    if _interpreted():  # nothing to measure
        return [Tile(16, 128, 32, 4, 1)]
    if dtype == torch.float32:  # without tensor cores, which would round
        return [Tile(64, 64, 16, 8, 2)]
    if kernel == "linear_max":
        large = [Tile(256, 128, 64, 8, 3), Tile(128, 256, 64, 8, 3)]
        return [*large, Tile(128, 128, 64, 8, 4), Tile(64, 128, 64, 4, 4)]
    if slots <= 64:
        return [Tile(128, 128, 64, 8, 4), Tile(64, 128, 64, 4, 4)]
    return [Tile(64, 128, 64, 8, 4), Tile(64, 64, 64, 8, 4)]


def unread(hidden: Tensor, head: LinearHead) -> str | None:
    """Why the kernels cannot pool these hidden states [tokens, d_model] with this head; None where they can."""
    if missing := _missing():
        return missing
    if torch.version.hip or (hidden.device.type != "cuda" and not _interpreted()):
        return f"Triton's kernels run on NVIDIA GPUs, and the hidden states are on {hidden.device}"
    if hidden.device.type == "cuda" and torch.cuda.get_device_capability(hidden.device) < _OLDEST:
        return "Triton's kernels need a GPU of compute capability 8.0 (A100) or newer"
    for name, dtype in (("hidden states", hidden.dtype), ("weight", head.weight.dtype)):
        if dtype not in _DTYPES:
            return f"Triton's kernels sum in float32, and the {name} are {str(dtype).removeprefix('torch.')}"
    gate = head.activation
    if isinstance(gate, TopK) and gate.k > MOST_PER_TOKEN:
        return f"Triton's kernels keep at most {MOST_PER_TOKEN} latents per token, and the gate is TopK({gate.k})"
    return _unbuilt(hidden.device) if hidden.device.type == "cuda" else None


class TritonOperations(CudaOperations):
    """Maxima and TopK without blocks of products in memory; gradients summed row by row, always in the same order.

    What `unread` gives a reason for is not to be asked. Sum pooling takes its blocks from PyTorch, as CudaOperations.
    """

    def linear_max(self, hidden: Tensor, weight: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        n_sequences, n_latents = len(offsets) - 1, len(weight)
        maxima = torch.empty(n_sequences, n_latents, device=hidden.device)
        tokens = torch.empty_like(maxima, dtype=torch.int32)
        if not len(hidden):
            return maxima.fill_(-torch.inf), tokens.fill_(-1)
        per_run = sequences_of_a_run(len(hidden), n_sequences, n_latents)
        runs = math.ceil(n_sequences / per_run)
        _launch(
            "linear_max",
            lambda tile: (runs * math.ceil(n_latents / tile["BLOCK_N"]),),
            _readable(hidden),
            _readable(weight),
            (offsets.int(), maxima, tokens, n_sequences, n_latents, hidden.shape[1], per_run),
        )
        return maxima, tokens

    def token_topk(
        self, hidden: Tensor, weight: Tensor, bias: Tensor, scale: Tensor | None, k: int
    ) -> tuple[Tensor, Tensor]:
        n_tokens, n_latents = len(hidden), len(weight)
        if not n_tokens:
            return hidden.new_empty(0, k, dtype=torch.float32), hidden.new_empty(0, k, dtype=torch.int64)
        bias = bias.float()
        scale = torch.ones_like(bias) if scale is None else scale.float()
        per_part = latents_of_a_part(n_tokens, n_latents)
        parts = math.ceil(n_latents / per_part)
        kept = torch.empty(n_tokens, parts, k, dtype=torch.int64, device=hidden.device)
        _launch(
            "token_topk",
            lambda tile: (math.ceil(n_tokens / tile["BLOCK_M"]) * parts,),
            _readable(hidden),
            _readable(weight),
            (bias, scale, kept, n_tokens, n_latents, hidden.shape[1], k, per_part),
            slots=1 << (k - 1).bit_length(),
        )
        entries = kept.view(n_tokens, -1).topk(k, dim=1).values
        return _numbers(entries >> 32), 0xFFFFFFFF - (entries & 0xFFFFFFFF)

    def hidden_gradient(self, entries: Entries, hidden: Tensor, weight: Tensor) -> Tensor:
        return _sum_rows(entries.tokens, entries.latents, entries.values, weight, hidden)

    def weight_gradient(self, entries: Entries, hidden: Tensor, weight: Tensor) -> Tensor:
        return _sum_rows(entries.latents, entries.tokens, entries.values, hidden, weight)


def sequences_of_a_run(n_tokens: int, n_sequences: int, n_latents: int) -> int:
    """Sequences that one program of `linear_max` goes through: fewer where there would be too few programs."""
    most = min(_RUN, n_tokens * n_latents // (_PROGRAMS * 128))
    return max(round(most * n_sequences / n_tokens), 1)


def latents_of_a_part(n_tokens: int, n_latents: int) -> int:
    """Latents that one program of `token_topk` goes through: fewer where there would be too few programs."""
    parts = max(_PROGRAMS // math.ceil(n_tokens / 128), _PARTS)
    return math.ceil(n_latents / parts / 256) * 256


def _sum_rows(into: Tensor, rows: Tensor, values: Tensor, source: Tensor, like: Tensor) -> Tensor:
    """In the shape and dtype of `like`: row i sums values[e] * source[rows[e]] over the entries e with into[e] == i."""
    from saelex.encoder.pooling import triton_kernels

    into, order = into.sort(stable=True)
    indptr = torch.searchsorted(into, torch.arange(len(like) + 1, device=into.device))
    dtype = values.dtype if _interpreted() else like.dtype  # the interpreter rounds to bfloat16 wrongly
    total = torch.empty_like(like, dtype=dtype, memory_format=torch.contiguous_format)
    width = like.shape[1]
    columns = min(_COLUMNS, 1 << (width - 1).bit_length())
    if len(like):
        with torch.cuda.device_of(source):
            triton_kernels.sum_rows[(len(like), math.ceil(width / columns))](
                source.contiguous(),
                rows[order],
                values[order],
                indptr,
                total,
                width,
                BLOCK_E=_ENTRIES,
                BLOCK_D=columns,
                enable_fp_fusion=True,
            )
    return total.to(like.dtype)


def _launch(
    kernel: str,
    programs: Callable[[dict[str, int]], tuple[int]],
    hidden: Tensor,
    weight: Tensor,
    arguments: tuple[Any, ...],
    slots: int = 0,
) -> None:
    """Runs a kernel on contiguous matrices. programs: how many of them, given the tile's BLOCK_M and BLOCK_N."""
    from triton.tools.tensor_descriptor import TensorDescriptor

    described = _describable(hidden) and _describable(weight)
    matrices: list[Any] = [hidden, weight]
    if described:  # their blocks come from `_describe_blocks`
        matrices = [TensorDescriptor.from_tensor(matrix, [1, 1]) for matrix in matrices]
    constants = {"SLOTS": slots} if slots else {}
    tuned = _tuned(kernel, hidden.dtype, len(hidden) < _FEW_TOKENS, slots)
    with _launching, torch.cuda.device_of(hidden):
        tuned[programs](*matrices, *arguments, **constants, DESCRIBED=described, enable_fp_fusion=True)


@cache
def _tuned(kernel: str, dtype: torch.dtype, few: bool, slots: int) -> Any:
    """The kernel with its tiles, tried at the first call with each size of the head; for few tokens apart."""
    import triton

    from saelex.encoder.pooling import triton_kernels

    configs = [
        triton.Config(
            {"BLOCK_M": tile.tokens, "BLOCK_N": tile.latents, "BLOCK_K": tile.step, "GROUP": _GROUP},
            num_warps=tile.warps,
            num_stages=tile.stages,
            pre_hook=_describe_blocks,
        )
        for tile in tiles(kernel, dtype, slots)
    ]
    return triton.autotune(configs, key=["n_latents", "d_model"])(getattr(triton_kernels, kernel))


def _describable(matrix: Tensor) -> bool:
    """Whether tiles of this contiguous matrix are copied by a tensor descriptor."""
    if matrix.shape[1] * matrix.itemsize % _ALIGNED or matrix.data_ptr() % _ALIGNED:
        return False
    return matrix.device.type == "cpu" or torch.cuda.get_device_capability(matrix.device) >= _DESCRIBING


def _describe_blocks(arguments: dict[str, Any]) -> None:
    if arguments["DESCRIBED"]:
        arguments["hidden"].block_shape = [arguments["BLOCK_M"], arguments["BLOCK_K"]]
        arguments["weight"].block_shape = [arguments["BLOCK_N"], arguments["BLOCK_K"]]


def _readable(matrix: Tensor) -> Tensor:
    """Contiguous; the interpreter, which multiplies the bits of bfloat16, gets the same numbers in float32."""
    if _interpreted() and matrix.dtype == torch.bfloat16:
        matrix = matrix.float()
    return matrix.detach().contiguous()


def _numbers(ordered: Tensor) -> Tensor:
    """float32 of integers in the kernels' order (`triton_kernels._ordered`)."""
    return (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).int().view(torch.float32)


@cache
def _missing() -> str | None:
    """What to do for want of Triton; None where there is nothing to do."""
    if importlib.util.find_spec("triton") is None:
        return f"Triton is not installed; install it with: {install_command('triton', 'triton')}"
    import triton

    if tuple(map(int, triton.__version__.split(".")[:2])) < _VERSION:
        return f"Triton {triton.__version__} has no tensor descriptors; PyTorch 2.8 and newer come with one that has"
    return None


@cache
def _unbuilt(device: torch.device) -> str | None:
    """Why kernels cannot be built and run here, found by running a small one; None where they can.

    On its first kernel Triton compiles C code, for which a machine may lack compiler or headers.
    """
    one = torch.ones(1, 1, device=device)
    try:
        _sum_rows(one[0].long() - 1, one[0].long() - 1, one[0], one, one)
    except Exception as error:  # Triton, its C compiler and the driver fail each in their own way
        return f"Triton cannot build its kernels here: {' '.join(str(error).split()):.200}"
    return None


@cache
def _interpreted() -> bool:
    """Whether kernels run on the CPU, by Triton's interpreter: `TRITON_INTERPRET=1`."""
    import triton

    return bool(triton.knobs.runtime.interpret)
