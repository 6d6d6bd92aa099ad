"""The GPU head without a GPU: what Triton's compiler makes of its kernels, and a model of traffic and arithmetic.

    python benchmarks/head.py --paper

Every kernel is compiled to PTX and machine code for compute capabilities 8.0, 9.0 and 10.0, which needs no device.
Registers, spills and shared memory are the compiler's; times are the slowest of what must happen: tensor cores, the
second-level cache, DRAM, and the integer units that reduce the products (these after a tile's products, not beside
them). A model, not a measurement: no clock drops, no launch, no tail of the last programs.
"""

from __future__ import annotations

import importlib.util
import math
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from report import table
from saelex.encoder.pooling.triton import Tile, sequences_of_a_run, tiles
from saelex.installation import needs_extra

SLOTS = 64  # TopK's k in the table


@dataclass(frozen=True)
class Gpu:
    """Published figures; those of the second-level cache are 5,120 bytes a clock (A100's; newer ones say nothing)."""

    name: str
    capability: int
    processors: int
    ghz: float
    tflops: float  # bfloat16, dense
    dram: float  # TB/s
    cache: float  # TB/s
    memory: int  # GB
    integers: int  # comparisons a processor makes in a clock


GPUS = (
    Gpu("A100 80 GB", 80, 108, 1.41, 312, 2.04, 7.2, 80, 64),
    Gpu("H100 SXM", 90, 132, 1.83, 989, 3.35, 9.4, 80, 64),
    Gpu("H200", 90, 132, 1.83, 989, 4.8, 9.4, 141, 64),
    Gpu("B200", 100, 148, 1.85, 2250, 8.0, 18.9, 180, 128),
)


@dataclass(frozen=True)
class Problem:
    """SPLARE-7B's step: 128 queries with 9 texts each; hidden states and weight in bfloat16, the weight frozen."""

    texts: int = 128 * 9
    length: int = 128
    d_model: int = 4096
    latents: int = 131_072
    active: int = 400

    @property
    def tokens(self) -> int:
        return self.texts * self.length

    @property
    def flops(self) -> float:
        return 2.0 * self.tokens * self.d_model * self.latents


@dataclass(frozen=True)
class Compiled:
    """One kernel for one architecture. spilled: bytes a thread keeps in memory for want of registers."""

    ptx: str
    registers: int
    spilled: int
    shared: int

    def unit(self) -> str:
        """What multiplies matrices."""
        names = {"tcgen05.mma": "tcgen05", "wgmma": "wgmma", "mma.sync": "mma.sync"}
        return next((name for instruction, name in names.items() if instruction in self.ptx), "none")


def tiles_of(kernel: str, dtype: str = "bf16", slots: int = SLOTS) -> list[Tile]:
    """Those that are tried; for `sum_rows` entries x columns, of which it has one."""
    names = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
    return [Tile(8, 1024, 1, 4, 3)] if kernel == "sum_rows" else tiles(kernel, names[dtype], slots)


def compiled(kernel: str, capability: int, tile: Tile, dtype: str = "bf16", slots: int = SLOTS) -> Compiled:
    """Compiles a kernel of `triton_kernels` for a GPU that need not be here."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from saelex.encoder.pooling import triton_kernels

    function = getattr(triton_kernels, kernel)
    described = capability >= 90
    types, constants = _arguments(kernel, dtype, tile, described)
    if kernel == "token_topk":
        constants["SLOTS"] = slots
    signature = dict(zip(function.arg_names, types)) | dict.fromkeys(constants, "constexpr")
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, (name, kind) in enumerate(signature.items())
        if kind.startswith("*") or name in ("d_model", "n_latents", "width")
    }
    options = {"num_warps": tile.warps, "num_stages": tile.stages, "enable_fp_fusion": True}
    source = ASTSource(function, signature, constants, aligned)
    result = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    registers, spilled = _resources(result.asm["cubin"], triton.knobs.nvidia.cuobjdump.path)
    return Compiled(result.asm["ptx"], registers, spilled, result.metadata.shared)


def _arguments(kernel: str, dtype: str, tile: Tile, described: bool) -> tuple[list[str], dict[str, Any]]:
    if kernel == "sum_rows":
        return [f"*{dtype}", "*i64", "*fp32", "*i64", f"*{dtype}", "i32"], {
            "BLOCK_E": tile.tokens,
            "BLOCK_D": tile.latents,
        }
    matrices = [f"*{dtype}"] * 2
    if described:
        matrices = [f"tensordesc<{dtype}[{rows}, {tile.step}]>" for rows in (tile.tokens, tile.latents)]
    rest = {
        "linear_max": ["*i32", "*fp32", "*i32", *["i32"] * 4],
        "token_topk": ["*fp32", "*fp32", "*i64", *["i32"] * 5],
    }
    blocks = {"BLOCK_M": tile.tokens, "BLOCK_N": tile.latents, "BLOCK_K": tile.step, "GROUP": 8}
    return matrices + rest[kernel], blocks | {"DESCRIBED": described}


def _resources(cubin: bytes, cuobjdump: str) -> tuple[int, int]:
    """Registers and spilled bytes of a thread."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        said = subprocess.run([cuobjdump, "-res-usage", str(file)], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", said)
    if found is None:
        raise RuntimeError(f"cuobjdump names no registers: {said}")
    return int(found[1]), int(found[2])


@dataclass(frozen=True)
class Work:
    """What one kernel does with a problem: FLOPs on tensor cores, bytes, integer operations behind the products."""

    flops: float
    cache: float
    dram: float
    integers: float

    def seconds(self, gpu: Gpu) -> float:
        beside = max(self.flops / gpu.tflops / 1e12, self.cache / gpu.cache / 1e12, self.dram / gpu.dram / 1e12)
        return beside + self.integers / (gpu.processors * gpu.integers * gpu.ghz * 1e9)


def maxima(problem: Problem, tile: Tile) -> Work:
    """`linear_max`: each group of 8 tiles of latents reads all tokens once from DRAM, and its rows of the weight."""
    run = sequences_of_a_run(problem.tokens, problem.texts, problem.latents) * problem.length
    padded = math.ceil(run / tile.tokens) * tile.tokens / run
    groups = problem.latents / tile.latents / 8
    outputs = problem.texts * problem.latents * 8.0
    reduced = max(tile.tokens / problem.length, 1)  # each text of a tile reduces the whole tile
    return Work(
        problem.flops * padded,
        _through_cache(problem, tile) * padded,
        2.0 * problem.d_model * (problem.tokens * groups + problem.latents) + outputs,
        (4 + 6 * reduced) * problem.tokens * problem.latents,  # order; select and two reductions
    )


def top_k(problem: Problem, tile: Tile, slots: int = SLOTS, parts: int = 8) -> Work:
    """`token_topk`: each group of 8 tiles of tokens reads the whole weight once from DRAM."""
    groups = problem.tokens / tile.tokens / 8
    rounds = parts * _rounds(problem.latents // parts, tile, slots)
    per_round = tile.tokens * (7.0 * tile.latents + 8.0 * slots)
    return Work(
        problem.flops,
        _through_cache(problem, tile),
        2.0 * problem.d_model * (problem.latents * groups + problem.tokens) + 8.0 * problem.tokens * parts * slots,
        4.0 * problem.tokens * problem.latents + problem.tokens / tile.tokens * rounds * per_round,
    )


def gradients(problem: Problem) -> Work:
    """`sum_rows` for the hidden states: a row of the weight for each active latent of a text, and the result."""
    entries = float(problem.texts * problem.active)
    moved = 2.0 * problem.d_model * (entries + problem.tokens) + 16 * entries
    return Work(2.0 * entries * problem.d_model / 16, moved, moved, 0.0)  # not on tensor cores: a sixteenth of the rate


def _through_cache(problem: Problem, tile: Tile) -> float:
    """Bytes of tiles that processors read."""
    return problem.flops * (1 / tile.tokens + 1 / tile.latents)


def _rounds(latents: int, tile: Tile, slots: int) -> float:
    """How often a program looks for a tile's largest: once more than the token with most new ones has new ones.

    Of latents in random order, a tile that comes after n others brings Poisson(slots / (n + 1)) to each token.
    """
    total = float(min(slots, tile.latents) + 1)
    for before in range(1, latents // tile.latents):
        mean = slots / (before + 1)
        below, term = 0.0, math.exp(-mean)
        for count in range(tile.latents):
            below = min(below + term, 1.0)
            term *= mean / (count + 1)
            total += 1 - below**tile.tokens
        total += 1
    return total


def memory_per_text(problem: Problem) -> dict[str, float]:
    """Bytes that a text's forward and backward need at their highest, by plain heads and by ours, the weight frozen."""
    cells = problem.length * problem.latents
    states = 4.0 * problem.length * problem.d_model  # hidden states and their gradient, bfloat16
    # plain, bfloat16: the gated logits that ReLU and log1p keep, and in the backward three gradients of that size
    # ours, [texts, latents]: maxima, tokens, gate, relu, log1p and weights are kept; three gradients come
    return {"plain": 4 * 2.0 * cells + states, "ours": 9 * 4.0 * problem.latents + states}


def plain_seconds(problem: Problem, gpu: Gpu) -> float:
    """Forward and backward of plain heads, whose operations come one after another, each at its own limit.

    Two products (the frozen weight needs no third) and 19 passes over [tokens, latents] in bfloat16: the logits are
    written; gate, log1p and mask read and write; the maximum reads; the backward writes the maximum's gradient, and
    mask, log1p and gate take it back, reading what they kept.
    """
    return 2 * problem.flops / gpu.tflops / 1e12 + 19 * 2.0 * problem.tokens * problem.latents / gpu.dram / 1e12


def our_seconds(problem: Problem, gpu: Gpu) -> float:
    """Forward and backward by the kernels, and 20 passes over [texts, latents] in float32 for gate and saturation."""
    products = min(maxima(problem, tile).seconds(gpu) for tile in tiles_of("linear_max"))
    passes = 20 * 4.0 * problem.texts * problem.latents / gpu.dram / 1e12
    return products + gradients(problem).seconds(gpu) + passes


def print_paper() -> None:
    """The tables, on standard output."""
    if importlib.util.find_spec("triton") is None:
        raise needs_extra("the model on paper, which compiles the kernels,", "triton", "triton")
    problem = Problem()
    kernels = {"linear_max": maxima, "token_topk": top_k}
    architectures = sorted({gpu.capability for gpu in GPUS})
    built = []
    for kernel in (*kernels, "sum_rows"):
        for tile in tiles_of(kernel):
            shape = f"{tile.tokens} x {tile.latents} x {tile.step}"
            for capability in architectures:
                made = compiled(kernel, capability, tile)
                found = (made.unit(), made.registers, made.spilled, made.shared)
                built.append((kernel, shape, tile.warps, f"sm{capability}", *found))
    print("what Triton's compiler makes of the kernels (bfloat16; TopK of 64)\n")
    print(table(("kernel", "tile", "warps", "for", "products", "registers", "spilled B", "shared B"), built))
    print(
        f"\n{problem.texts} texts of {problem.length} tokens, d_model {problem.d_model}, {problem.latents:,} latents\n"
    )
    rows = []
    for gpu in GPUS:
        for kernel, model in kernels.items():
            rows += [
                _row(gpu, kernel, f"{tile.tokens} x {tile.latents}", model(problem, tile), problem)
                for tile in tiles_of(kernel)
            ]
        rows.append(_row(gpu, "sum_rows", "8 x 1024", gradients(problem), problem))
    header = (
        "GPU",
        "kernel",
        "tile",
        "TFLOP",
        "cache GB",
        "DRAM GB",
        "ms at best",
        "bound by",
        "of the roofline",
        "tokens/s",
    )
    print(table(header, rows))
    need = memory_per_text(problem)
    print("\nforward and backward with a frozen weight, and the texts whose memory fits beside the weight")
    for gpu in GPUS:
        free = gpu.memory * 1e9 - 2.0 * problem.d_model * problem.latents
        plain, ours = (int(free // need[name]) for name in ("plain", "ours"))
        seconds, own = plain_seconds(problem, gpu), our_seconds(problem, gpu)
        print(
            f"  {gpu.name}: {seconds * 1e3:.0f} ms by plain heads, {own * 1e3:.0f} ms by these: {seconds / own:.1f} x;"
            f" {plain:,} texts by plain heads, {ours:,} by these: {ours / plain:.0f} x"
        )


def _row(gpu: Gpu, kernel: str, tile: str, work: Work, problem: Problem) -> tuple[Any, ...]:
    bounds = {
        "tensor cores": work.flops / gpu.tflops,
        "cache": work.cache / gpu.cache,
        "DRAM": work.dram / gpu.dram,
    }
    seconds = work.seconds(gpu)
    # the roofline knows arithmetic and DRAM
    ideal = max(min(work.flops, problem.flops) / gpu.tflops, work.dram / gpu.dram) / 1e12
    return (
        gpu.name,
        kernel,
        tile,
        round(work.flops / 1e12, 1),
        round(work.cache / 1e9),
        round(work.dram / 1e9, 1),
        round(seconds * 1e3, 1),
        max(bounds, key=lambda name: bounds[name]),
        round(ideal / seconds, 2),
        round(problem.tokens / seconds),
    )
