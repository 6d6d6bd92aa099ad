"""A training step with saelex' head beside the same step with a plain PyTorch head: tokens per second, batch, memory.

    python benchmarks/train_step.py --json train_step.json

The step is the recipes': batches as the collator makes them, RetrievalModel, the objective (KL against a teacher, FLOPS
on both sides), backward, clipping, AdamW. Backbone, adapters, objective and optimiser are the same objects in both;
only the head differs. Plain is what one would write, and does after the gate what sentence-transformers' SpladePooling
does: logits [tokens, latents], gate, mask, ReLU, log1p, maximum over tokens, all under autograd. Before anything is
timed both must give the same loss to 1e-4 of it, and the same gradients. Texts are random words of full length
(documents 128 tokens, queries 32), so that packing alone gains nothing; dropout is 0.

On the CPU, all-MiniLM-L6-v2 in float32 with
- topk: a TopK SAE of 16,384 latents, frozen, LoRA on the backbone: the default's size, and the rows without a suffix;
- joint: the same, backbone and head learning (SAE-SPLADE);
- vocabulary: the embedding (30,522 words) as SPLADE's head, all learning;
- jumprelu_131k: a JumpReLU SAE of 131,072 latents, frozen, LoRA, as SPLARE; a third of the queries, because plain needs
  the memory of [tokens, latents] several times over.
`values` beside a TopK head is a cleverer plain: after the top k it goes on with each token's k values alone, as
SAE-SPLADE's code does, and only the logits and their gradient are [tokens, latents].

On a GPU, SPLARE-7B's size with random weights: Llama-3.1-8B's shape cut after block 26, bfloat16, 131,072 latents with
JumpReLU, LoRA, 8 negatives, documents of 128 and of 512 tokens, gradient checkpointing. Plain's logits are bfloat16
there, as autocast makes them, while saelex sums in float32: the loss is checked against plain with a float32 head, and
how far the bfloat16 one is off is told.

tokens_per_s_ratio: each case is a process of its own, in which the heads take turns, a step each, so that a busy
machine meets all alike; the median of the laps' ratios. The backbone keeps its activations on the CPU.

batch_ratio: the batch that saelex trains in the memory that plain needs for --queries, as a multiple. Memory is what a
step adds at its highest to what was resident before (on a GPU: allocated), in a fresh process for each number after a
small warm-up step: plain at --queries, saelex at that and at four times that; elsewhere the line through saelex' two
holds. Libraries, weights and the optimiser's state are the same on both sides and left out. With both heads the
backbone computes its activations again in the backward (gradient checkpointing, what one turns on for larger batches),
and malloc returns what is freed: glibc's own rule comes to keep blocks of up to 32 MiB, which hides most of what a head
needs. The topk case also without the one (`kept`: the backbone keeps its activations) and without the other (`malloc`:
glibc as it is).

--quick is a smoke run at toy size, whose numbers mean nothing; a toy Llama on the CPU stands for the 7B.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.context import BaseContext
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from report import Report
from saelex.training.retrieval.batch import RetrievalBatch
from train_step_problem import Case, Problem

TOKENS_GOAL, BATCH_GOAL = 2, 4
SAME_LOSS = 1e-4  # of the loss
SAME_GRADIENTS = {"float32": 1e-2, "bfloat16": 5e-2}  # latents at a threshold flip with the order of summation
CPU_CASES = ("topk", "joint", "vocabulary", "jumprelu_131k")
RETURNED_FROM = 2**20  # bytes; blocks of that size go back to the system when they are freed
IMPORTED = ["peft", "transformers", "saelex.training.retrieval.start"]  # what takes long
JUMPRELU_SHARE = 3  # a 131k head gets a third of the queries
GPU_QUERIES = {128: 8, 512: 2}  # by tokens: plain has to fit


@dataclass(frozen=True)
class Likeness:
    """saelex' loss, and how far plain's loss and gradients are from its own, as shares of plain's.

    rounded: how far plain's loss under autocast is from that of plain with a float32 head; None without autocast.
    """

    loss: float
    plain_loss: float
    gradients: float
    limit: float
    rounded: float | None

    @property
    def loss_error(self) -> float:
        return abs(self.loss - self.plain_loss) / abs(self.plain_loss)

    @property
    def close(self) -> bool:
        return self.loss_error <= SAME_LOSS and self.gradients <= self.limit

    def __str__(self) -> str:
        losses = f"loss {self.loss:.5f}, plain's {self.plain_loss:.5f}"
        text = f"{losses}: {self.loss_error:.1e} apart, gradients {self.gradients:.1e}"
        return text if self.rounded is None else f"{text}; plain's loss in bfloat16 is {self.rounded:.1e} off"


@dataclass(frozen=True)
class Race:
    """Seconds of every lap by implementation; none where they are not alike. active: latents of a passage."""

    alike: Likeness
    seconds: dict[str, list[float]]
    active: float
    tokens: int

    def ratio(self, implementation: str) -> float:
        return median(slow / fast for slow, fast in zip(self.seconds[implementation], self.seconds["fused"]))

    def tokens_per_s(self, implementation: str) -> float:
        return self.tokens / median(self.seconds[implementation])


def in_a_process(function: Callable[..., Any], case: Case, *arguments: Any) -> Any:
    """What function(case, *arguments) returns in a fresh process."""
    if case.device == "cpu":  # branches off one that has imported, but not computed
        context: BaseContext = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(IMPORTED)
    else:  # CUDA does not survive a fork, should an import have asked for it
        context = multiprocessing.get_context("spawn")
    with context.Pool(1) as process:
        return process.apply(function, (case, *arguments))


def race(case: Case, laps: int) -> Race:
    """Checks that the implementations agree, then lets them take turns."""
    problem = Problem(case)
    batch = problem.batch(case.queries)
    names = ["fused", "plain", *(["plain_values"] if case.name == "topk" else [])]
    models = {name: problem.model(name) for name in names}
    for model in models.values():
        problem.step(model, problem.batch(queries=1))  # compiles, and makes the optimiser's state
    alike = likeness(problem, batch)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(laps if alike.close else 0):
        for name, model in models.items():
            seconds[name].append(seconds_of(partial(problem.step, model, batch), case.device))
    return Race(alike, seconds, problem.active(batch), n_tokens(batch))


def likeness(problem: Problem, batch: RetrievalBatch) -> Likeness:
    """Of saelex' head and the plain one; where plain's logits are half precision, of one in float32."""
    exact = problem.model("plain_exact" if problem.case.bf16 else "plain")
    loss, gradients = problem.gradients(problem.fused, batch)
    plain_loss, plain_gradients = problem.gradients(exact, batch)
    rounded = None
    if problem.case.bf16:
        with torch.no_grad():
            rounded = abs(problem.forward(problem.model("plain"), batch).item() - plain_loss) / abs(plain_loss)
    limit = SAME_GRADIENTS["bfloat16" if problem.case.bf16 else "float32"]
    return Likeness(loss, plain_loss, apart(gradients, plain_gradients), limit, rounded)


def n_tokens(batch: RetrievalBatch) -> int:
    parts = [part for chunk in batch.chunks for texts in chunk for part in texts.parts]
    return sum(int(part.attention_mask.sum()) for part in parts)


def seconds_of(step: Callable[[], None], device: str) -> float:
    """Of the step; on a GPU of the second of two, since other steps' shapes were in the allocator's cache before."""
    if device == "cpu":
        start = time.perf_counter()
        step()
        return time.perf_counter() - start
    torch.cuda.empty_cache()
    step()
    torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def apart(found: list[Tensor], expected: list[Tensor]) -> float:
    """Length of the difference, as a share of the expected gradient's."""
    wrong = sum(float((one - other).square().sum()) for one, other in zip(found, expected))
    whole = sum(float(other.square().sum()) for other in expected)
    return float((wrong / whole) ** 0.5)


def grown_mib(case: Case, implementation: str, queries: int, returned: bool) -> float:
    """MiB that a step adds at its highest. returned: malloc gives back to the system what is freed."""
    if returned:
        ctypes.CDLL(None).mallopt(-3, RETURNED_FROM)  # M_MMAP_THRESHOLD
    problem = Problem(case)
    model = problem.model(implementation)
    problem.step(model, problem.batch(queries=1))  # compiles, imports, and makes the optimiser's state
    batch = problem.batch(queries)
    gc.collect()
    if case.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        problem.step(model, batch)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    resident = status_kib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    problem.step(model, batch)
    return (status_kib("VmHWM") - resident) / 1024


def status_kib(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def multiple(plain: float, ours: float, ours_larger: float, larger: int) -> float:
    """How many times the batch saelex trains in plain's memory, by its own memory at once and `larger` times it."""
    if plain <= ours:
        return plain / ours
    return 1 + (larger - 1) * (plain - ours) / max(ours_larger - ours, 1e-9)


def report_race(report: Report, case: Case, laps: int) -> float:
    """Adds the case's rows of speed; returns the losses' difference. Ends the program where that is too large."""
    found: Race = in_a_process(race, case, laps)
    if not found.alike.close:
        limits = f"at most {SAME_LOSS:g} and {found.alike.limit:g} are allowed"
        raise SystemExit(f"{case.name}: {found.alike}; {limits}: there is nothing to compare")
    print(f"{case.name}: {found.alike}", flush=True)
    suffix = "" if case.name == "topk" else f"_{case.name}"
    size = f"{case.queries} queries x {1 + case.negatives} passages of {case.tokens} tokens"
    note = f"{size}, {found.active:.0f} active latents each; {found.alike}"
    report.add(f"tokens_per_s_ratio{suffix}", found.ratio("plain"), "times", TOKENS_GOAL, note)
    if "plain_values" in found.seconds:
        note = f"plain, with each token's {case.k} values alone after the top k"
        report.add(f"tokens_per_s_ratio{suffix}_values", found.ratio("plain_values"), "times", None, note)
    for name in found.seconds:
        label = "saelex" if name == "fused" else name
        note = f"{median(found.seconds[name]):.3g} s a step, median of {laps}"
        report.add(f"{label}{suffix}_tokens_per_s", found.tokens_per_s(name), "tokens/s", None, note)
    return found.alike.loss_error


def report_memory(report: Report, case: Case, variant: str = "", larger: int = 4, *, returned: bool = True) -> None:
    """Adds the case's rows of memory; larger: times the batch of the second measurement of saelex."""
    larger_queries = larger * case.queries
    plain = in_a_process(grown_mib, case, "plain", case.queries, returned)
    ours = in_a_process(grown_mib, case, "fused", case.queries, returned)
    ours_larger = in_a_process(grown_mib, case, "fused", larger_queries, returned)
    suffix = variant if case.name == "topk" else f"_{case.name}"
    ratio = multiple(plain, ours, ours_larger, larger)
    note = f"plain {plain:.0f} MiB at {case.queries} queries; saelex {ours:.0f}, at {larger_queries} {ours_larger:.0f}"
    report.add(f"batch_ratio{suffix}", ratio, "times", BATCH_GOAL, note)
    if case.name == "topk" and not variant:
        values = in_a_process(grown_mib, case, "plain_values", case.queries, returned)
        note = f"plain with each token's {case.k} values alone {values:.0f} MiB"
        report.add("batch_ratio_values", multiple(values, ours, ours_larger, larger), "times", None, note)


def cpu_cases(given: argparse.Namespace) -> list[Case]:
    size = {"negatives": given.negatives, "tokens": given.tokens, "k": given.k, "nonzeros": given.nonzeros}
    few = max(1, given.queries // JUMPRELU_SHARE)
    cases = {
        "topk": Case("topk", "topk", 16_384, queries=given.queries, **size),
        "joint": Case("joint", "topk", 16_384, joint=True, queries=given.queries, **size),
        "vocabulary": Case("vocabulary", "vocabulary", 30_522, joint=True, queries=given.queries, **size),
        "jumprelu_131k": Case("jumprelu_131k", "jumprelu", 131_072, queries=few, **size),
    }
    chosen = [cases[name] for name in given.cases]
    return [toy(case) for case in chosen] if given.quick else chosen


def toy(case: Case) -> Case:
    latents = case.latents if case.gate == "vocabulary" else 2048
    case = replace(case, latents=latents, layer=0 if case.model == "minilm" else None)
    return replace(case, queries=2, negatives=2, tokens=24, query_tokens=12, k=4, nonzeros=50)


def gpu_cases(given: argparse.Namespace) -> list[Case]:
    if given.quick:
        return [toy(Case("splare_toy", "jumprelu", 2048, model="toy llama", checkpointing=True))]
    if not torch.cuda.is_available():
        return []
    return [
        Case(
            f"splare_7b_{tokens}",
            "jumprelu",
            131_072,
            model="llama",
            queries=queries,
            negatives=8,
            tokens=tokens,
            nonzeros=given.nonzeros,
            checkpointing=True,
            device="cuda",
        )
        for tokens, queries in GPU_QUERIES.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", choices=CPU_CASES, default=list(CPU_CASES), help="on the CPU")
    parser.add_argument("--queries", type=int, default=24)
    parser.add_argument("--negatives", type=int, default=2, help="of a query, on the CPU")
    parser.add_argument("--tokens", type=int, default=128, help="of a passage, on the CPU")
    parser.add_argument("--k", type=int, default=16, help="of the TopK heads")
    parser.add_argument("--nonzeros", type=int, default=400, help="active latents of a passage, other heads")
    parser.add_argument("--laps", type=int, default=2, help="steps of each head; more are steadier")
    parser.add_argument("--memory", nargs="*", choices=CPU_CASES, default=["topk", "jumprelu_131k"], help="on the CPU")
    parser.add_argument("--quick", action="store_true", help="everything at toy size")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    report = Report(f"Training step: saelex' head against plain PyTorch's, {torch.get_num_threads()} threads", ["peft"])
    for_cpu, for_gpu = cpu_cases(given), gpu_cases(given)
    cases = [*for_cpu, *for_gpu]
    if cases:
        worst = max(report_race(report, case, given.laps) for case in cases)
        report.add("loss_difference", worst, "of the loss", SAME_LOSS, "largest of all cases")
    for case in [*(case for case in for_cpu if case.name in given.memory), *for_gpu]:
        case = replace(case, checkpointing=True)
        report_memory(report, case)
        if case.name == "topk":
            report_memory(report, replace(case, checkpointing=False), "_kept", larger=2)
            report_memory(report, case, "_malloc", larger=2, returned=False)
    if given.quick or not for_gpu:
        for tokens in GPU_QUERIES:
            reason = "--quick" if given.quick else "no GPU here"
            report.add(f"tokens_per_s_ratio_splare_7b_{tokens}", "not run", "times", TOKENS_GOAL, reason)
            report.add(f"batch_ratio_splare_7b_{tokens}", "not run", "times", BATCH_GOAL, reason)
    report.print()
    if given.json:
        report.write(given.json)


if __name__ == "__main__":
    main()
