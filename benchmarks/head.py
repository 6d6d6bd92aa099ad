"""The head, fused against plain PyTorch: time, peak memory, and how close its forward comes to a bare matrix product.

    python benchmarks/head.py --json head.json

Plain is what one would write: logits = linear(hidden), then gate, log1p, mask, maximum over tokens; a [batch, length,
latents] tensor, kept for the backward. Every text has the full length, so packing alone gains nothing. The number of
non-zeros per row is set by a shift of the bias (ReLU, vocabulary), the threshold (JumpReLU) or k (TopK; at most).
Ratios are always plain / fused: how many times less time or memory. The two are timed in turn in one process, the best
of --repeats each, after a check that their results agree. Peak memory is taken in a fresh process per case, after a
warm-up at another size: the highest resident set during forward and backward less the resident set before. Results and
gradients are in it, also the dense gradient of a trainable weight, which is the larger part of what fused needs.

Where there is an NVIDIA GPU, the same is measured there at SPLARE-7B's size in bfloat16, the weight frozen: tokens a
second at whatever batch is the fastest for each, and the largest batch that fits. --paper prints what Triton's compiler
makes of the kernels, and a model of traffic and memory, without a GPU.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from head_on_paper import print_paper
from report import Report
from saelex.encoder.head import LinearHead
from saelex.encoder.pooling import pool
from saelex.encoder.pooling.devices import operations_of
from saelex.sae.activations import Activation, JumpReLU, ReLU, TopK

GATES = ("relu", "jumprelu", "topk", "vocabulary")
# (gate, latents, non-zeros per row): forward and training, times faster than plain
GOALS = {("relu", 131_072, 400): (2.3, 6.0), ("relu", 131_072, 4000): (2.3, 3.5)}
SOFTCAP = 30.0  # Gemma 2's


@dataclass(frozen=True)
class Case:
    """One size and gate. `nonzeros`: active latents per row, of TopK at most."""

    gate: str = "relu"
    latents: int = 131_072
    nonzeros: int = 400
    batch: int = 16
    length: int = 128
    d_model: int = 384
    train_weight: bool = True
    device: str = "cpu"
    dtype: torch.dtype = torch.float32

    @property
    def tokens(self) -> int:
        return self.batch * self.length

    @property
    def suffix(self) -> str:
        """Of metric names: what differs from the default case."""
        size = f"_{self.gate}_{self.latents // 1000}k" if (self.gate, self.latents) != ("relu", 131_072) else ""
        return size + ("" if self.nonzeros == 400 else f"_{self.nonzeros}")


@dataclass(frozen=True)
class Problem:
    case: Case
    hidden: Tensor  # [tokens, d_model]
    offsets: Tensor
    head: LinearHead
    grad: Tensor  # [batch, latents], the gradient that arrives from a loss

    def fused(self) -> Tensor:
        return pool(self.hidden, self.offsets, self.head, "fused").weights

    def plain(self) -> Tensor:
        case, head = self.case, self.head
        hidden = self.hidden.view(case.batch, case.length, case.d_model)
        mask = hidden.new_ones(case.batch, case.length, 1)  # the padding mask that plain code needs
        logits = functional.linear(hidden, head.weight, head.bias.to(hidden.dtype))  # [batch, length, latents]
        if head.softcap is not None:
            logits = head.softcap * torch.tanh(logits / head.softcap)
        if isinstance(head.activation, TopK):
            values, latents = logits.topk(head.activation.k, dim=-1)
            logits = torch.zeros_like(logits).scatter(-1, latents, values)
        elif isinstance(head.activation, JumpReLU):
            logits = torch.where(logits > head.activation.threshold, logits, 0.0)
        return (torch.log1p(torch.relu(logits)) * mask).max(dim=1).values

    def forward(self, run: Callable[[], Tensor]) -> None:
        with torch.no_grad():
            run()

    def train(self, run: Callable[[], Tensor]) -> None:
        self.forget_gradients()
        weights = run()
        weights.backward(self.grad.to(weights.dtype))

    def forget_gradients(self) -> None:
        for tensor in (self.hidden, self.head.weight, self.head.bias):
            tensor.grad = None


def make(case: Case) -> Problem:
    torch.manual_seed(0)
    hidden = torch.randn(case.tokens, case.d_model, device=case.device, dtype=case.dtype)
    weight = torch.randn(case.latents, case.d_model, device=case.device, dtype=case.dtype).mul_(case.d_model**-0.5)
    offsets = torch.arange(0, case.tokens + 1, case.length, device=case.device)
    bias, gate = torch.zeros(case.latents, device=case.device), ReLU()
    if case.gate == "topk":
        activation: Activation = TopK(max(case.nonzeros // case.length, 1))
    else:
        with torch.no_grad():
            maxima = pool(hidden, offsets, LinearHead(weight, bias, gate, saturation="none")).weights
        cut = maxima.flatten().topk(case.nonzeros * case.batch).values[-1]
        activation = JumpReLU(cut[None]) if case.gate == "jumprelu" else gate
        bias = bias if case.gate == "jumprelu" else bias - cut
    head = LinearHead(weight, bias, activation, softcap=SOFTCAP if case.gate == "vocabulary" else None)
    head.weight.requires_grad_(case.train_weight)
    grad = torch.randn(case.batch, case.latents, device=case.device)
    return Problem(case, hidden.requires_grad_(), offsets, head, grad)


def best_times(runs: list[Callable[[], None]], repeats: int) -> list[float]:
    """Seconds of the fastest call of each, taken in turn so that a busy machine meets all alike."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats):
        for run, taken in zip(runs, times):
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
    return [min(taken) for taken in times]


def check(problem: Problem) -> int:
    """Raises unless plain and fused agree in values and gradients; returns the non-zeros per row."""
    results = []
    for run in (problem.plain, problem.fused):
        problem.forget_gradients()
        weights = run()
        weights.backward(problem.grad)
        gradients = [problem.hidden.grad, problem.head.bias.grad]
        results.append([weights.detach(), *(gradient for gradient in gradients if gradient is not None)])
    for plain, fused in zip(*results):
        # entries at a threshold may flip between two orders of summation
        wrong = float((plain - fused).norm() / plain.norm())
        if wrong > 1e-2:
            raise SystemExit(f"{problem.case}: plain and fused differ by {wrong:.1e}")
    return round(int((results[1][0] > 0).sum()) / problem.case.batch)


def time_case(case: Case, repeats: int, report: Report) -> None:
    problem = make(case)
    nonzeros = check(problem)
    runs: list[Callable[[], None]] = [
        lambda: problem.forward(problem.plain),
        lambda: problem.forward(problem.fused),
        lambda: problem.train(problem.plain),
        lambda: problem.train(problem.fused),
    ]
    plain_forward, fused_forward, plain_train, fused_train = best_times(runs, repeats)
    forward, train = GOALS.get((case.gate, case.latents, case.nonzeros), (None, None))
    shape = f"{nonzeros} non-zeros per row"
    note = f"{shape}; {plain_forward:.2f} s / {fused_forward:.2f} s"
    report.add(f"forward_speedup{case.suffix}", plain_forward / fused_forward, "x", forward, note)
    note = f"{shape}; {plain_train:.2f} s / {fused_train:.2f} s"
    report.add(f"train_speedup{case.suffix}", plain_train / fused_train, "x", train, note)
    if case == Case():
        rate_of_products(problem, fused_forward, repeats, report)


def rate_of_products(problem: Problem, fused_forward: float, repeats: int, report: Report) -> None:
    """What share of the fastest measured matrix product (float32) the whole forward reaches."""
    hidden, weight = problem.hidden.detach(), problem.head.weight.detach()

    @torch.no_grad()
    def blocks() -> None:
        for _ in operations_of(hidden, problem.head).latent_blocks(hidden, weight):
            pass

    square = torch.randn(2048, 2048)
    out = torch.empty_like(square)

    def squares() -> None:
        torch.mm(square, square, out=out)

    operations = 2.0 * hidden.shape[0] * weight.numel()
    of_blocks, of_mm = best_times([blocks, squares], max(repeats, 5))
    rates = {"the head's blocks alone": operations / of_blocks, "torch.mm 2048 x 2048 x 2048": 2 * 2048.0**3 / of_mm}
    name, rate = max(rates.items(), key=lambda item: item[1])
    note = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in rates.items())
    report.add("product_rate", rate / 1e9, "GFLOP/s", None, note)
    report.add("forward_product_share", operations / fused_forward / rate, "of it", None, f"of the rate of {name}")


def peak_memory(case: Case, implementation: str) -> float:
    """MiB that one forward and backward adds at its highest, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return process.apply(_measure_memory, (case, implementation))


def _measure_memory(case: Case, implementation: str) -> float:
    for nonzeros in (20, 200):  # compiles and imports what is compiled and imported once
        warm = make(Case(case.gate, 1024, nonzeros, 4, 16, 64, case.train_weight))
        warm.train(getattr(warm, implementation))
    problem = make(case)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    problem.train(getattr(problem, implementation))
    return (_status("VmHWM") - before) / 1024


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def memory_rows(report: Report) -> None:
    for train_weight, metric, goal in ((True, "memory_ratio", 15), (False, "memory_ratio_frozen", 40)):
        case = Case(train_weight=train_weight)
        plain, fused = peak_memory(case, "plain"), peak_memory(case, "fused")
        gradient = case.latents * case.d_model * 4 / 2**20
        part = f", the weight's gradient ({gradient:.0f}) in both" if train_weight else ""
        report.add(metric, plain / fused, "x less", goal, f"{plain:.0f} MiB / {fused:.0f} MiB{part}")


def gpu_rows(report: Report, repeats: int) -> None:
    """SPLARE-7B's head on the GPU: tokens a second at each one's fastest batch, and the largest batch of each."""
    if not torch.cuda.is_available():
        print("no NVIDIA GPU here: tokens_per_s_ratio_gpu and batch_ratio_gpu are not measured; --paper has a model")
        return
    check_on_gpu()
    plain, fused = (measure_on_gpu(name, repeats) for name in ("plain", "fused"))
    name = torch.cuda.get_device_name()
    rates = f"{max(fused.values()):.0f} / {max(plain.values()):.0f} tokens/s forward and backward, {name}"
    report.add("tokens_per_s_ratio_gpu", max(fused.values()) / max(plain.values()), "x", 2, rates)
    report.add("batch_ratio_gpu", max(fused) / max(plain), "x", 4, f"{max(fused)} / {max(plain)} texts of 128 tokens")


def on_gpu(batch: int) -> Problem:
    return make(Case("jumprelu", batch=batch, d_model=4096, train_weight=False, device="cuda", dtype=torch.bfloat16))


def check_on_gpu() -> None:
    """Raises unless the fused head's values and gradient are the reference's, which sums bfloat16 in float32, too."""
    problem = on_gpu(4)
    results = []
    for implementation in ("reference", "fused"):
        problem.forget_gradients()
        weights = pool(problem.hidden, problem.offsets, problem.head, implementation).weights
        weights.backward(problem.grad)
        assert problem.hidden.grad is not None
        results.append((weights.detach(), problem.hidden.grad.float()))
    for reference, fused in zip(*results):
        wrong = float((reference - fused).norm() / reference.norm())
        if wrong > 1e-2:
            raise SystemExit(f"{problem.case}: reference and fused differ by {wrong:.1e}")


def measure_on_gpu(implementation: str, repeats: int) -> dict[int, float]:
    """Tokens a second of forward and backward by batch: 8 texts, twice as many, and so on until memory is full."""
    rates: dict[int, float] = {}
    for batch in (8 * 2**i for i in range(10)):
        try:
            rates[batch] = rate_on_gpu(implementation, batch, repeats)
        except torch.cuda.OutOfMemoryError:
            break
    return rates


def rate_on_gpu(implementation: str, batch: int, repeats: int) -> float:
    problem = on_gpu(batch)

    def train() -> None:
        problem.train(getattr(problem, implementation))
        torch.cuda.synchronize()

    train()  # chooses tiles
    (seconds,) = best_times([train], repeats)
    return problem.case.tokens / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latents", type=int, nargs="+", default=[131_072, 32_768, 16_384])
    parser.add_argument("--gates", nargs="+", choices=GATES, default=list(GATES))
    parser.add_argument("--nonzeros", type=int, nargs="+", default=[400, 4000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skip-memory", action="store_true")
    parser.add_argument("--paper", action="store_true", help="print the model of the GPU head, and measure nothing")
    parser.add_argument("--gpu-only", action="store_true", help="measure nothing on the CPU")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.paper:
        print_paper()
        return
    report = Report("head: fused against plain PyTorch, plain / fused")
    for latents in () if arguments.gpu_only else arguments.latents:
        for gate in arguments.gates:
            for nonzeros in arguments.nonzeros:
                time_case(Case(gate, latents, nonzeros), arguments.repeats, report)
    if not (arguments.skip_memory or arguments.gpu_only):
        memory_rows(report)
    gpu_rows(report, arguments.repeats)
    report.print()
    if arguments.json:
        report.write(arguments.json)


if __name__ == "__main__":
    main()
