"""Training a TopK SAE, beside SAELens' and sparsify's trainers: tokens per second, peak memory, quality, the backward.

    pip install sae-lens eai-sparsify
    python benchmarks/sae_training.py --json sae_training.json

The two install beside saelex (extra `saelens`, part of `bench`), or into environments of their own, whose interpreters
are then named with --saelens-python and --sparsify-python.

All train the same SAE (width, k, batch, float32 weights) on the same batches in the same order: by default states
with a planted sparse structure, with --states those of a file. They are centred and scaled to a mean length of sqrt(d),
as SAELens would. Each trainer is a process and runs its project's own training step: `SAETrainer.fit`, `Trainer.fit`
and `SaeTrainer.train_step`. Either nobody meets a dead latent, and so nobody computes AuxK, or everybody does
(--dead-after). Adam's learning rate is the same for all (0.003 suits runs of this length), warm-up and decay are each
project's.

The processes train in turn, --steps at a time, so that a busy machine meets all alike; a ratio is the median of the
laps' ratios, the first lap left out. Of the --settings of SAELens and sparsify the fastest of each counts; those left
out by default were slower (SAELens' dense activations and its bfloat16 `autocast`, sparsify's muon). sparsify's own
bfloat16 is for CUDA only; saelex takes its default, a bfloat16 search for candidates where the processor multiplies
bfloat16 itself.

memory_ratio compares the highest resident memory during training less what was resident before: libraries, compiled
code (a small training has run by then) and the states. `total` in the notes is the whole process. The FVU is that of
states held out, after all laps: speed is not to be bought with quality.

backward_width_ratio is the time of saelex' backward (encoder and decoder, without forward and optimiser) at width
65,536 over that at 16,384, backward_k_ratio at k 64 over k 16; beside them plain autograd, dense. Where the cost
follows k alone, they are 1 and 4.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from report import Report
from sae_trainers.course import HELD_OUT, Task
from saelex.sae.products import Spares
from saelex.sae.topk_function import decode_topk, encode_topk

OURS = "saelex:default"
OTHERS = ("saelens:sparse", "sparsify:signum", "sparsify:adam", "saelens:dense", "saelens:autocast", "sparsify:muon")
PLANTED = 2048  # directions that the synthetic states are made of
GOALS = {"saelens": ("tokens_per_s_ratio", 2), "sparsify": ("tokens_per_s_ratio_sparsify", 1.2)}


@dataclass(frozen=True)
class Outcome:
    """One trainer's race: seconds of every lap, and what its process told at the end."""

    seconds: list[float]
    peak_mib: float
    before_mib: float
    fvu: float
    version: str

    @property
    def grown_mib(self) -> float:
        return self.peak_mib - self.before_mib


class Runner:
    """A trainer in a process of its own, which trains one lap whenever it is told to."""

    def __init__(self, name: str, python: str, task: Task, log: Path) -> None:
        self.name, self.log = name, log
        environment = dict(os.environ, WANDB_MODE="disabled", TOKENIZERS_PARALLELISM="false")
        environment |= {f"{pool}_NUM_THREADS": str(task.threads) for pool in ("OMP", "MKL", "NUMBA")}
        reads, writes = os.pipe()
        self.process = subprocess.Popen(
            [python, "-m", f"sae_trainers.{name}_trainer", json.dumps(asdict(task)), str(writes)],
            cwd=Path(__file__).parent,
            env=environment,
            pass_fds=[writes],
            stdin=subprocess.PIPE,
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
            text=True,
        )
        os.close(writes)
        self.ear = os.fdopen(reads)
        self.seconds: list[float] = []
        self.hear()

    def hear(self) -> dict[str, Any]:
        line = self.ear.readline()
        if not line:
            raise SystemExit(f"{self.name} has ended early:\n{self.log.read_text()[-3000:]}")
        told: dict[str, Any] = json.loads(line)
        return told

    def lap(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self.seconds.append(self.hear()["seconds"])

    def outcome(self) -> Outcome:
        told = self.hear()
        self.process.wait()
        return Outcome(self.seconds[1:], **told)


def race(task: Task, settings: list[str], pythons: dict[str, str], folder: Path) -> dict[str, Outcome]:
    """Outcomes by "trainer:setting", saelex' own among them."""
    runners: dict[str, Runner] = {}
    try:
        for key in (OURS, *settings):
            name, setting = key.split(":")
            runners[key] = Runner(name, pythons[name], replace(task, setting=setting), folder / f"{name}-{setting}.log")
        for _ in range(task.laps):
            for runner in runners.values():
                runner.lap()
        return {key: runner.outcome() for key, runner in runners.items()}
    finally:
        for runner in runners.values():
            runner.process.kill()


def planted_states(tokens: int, d_model: int) -> NDArray[np.float32]:
    """Sums of 16 out of PLANTED directions, some more common, of gamma-distributed lengths, and a little noise."""
    random = np.random.default_rng(0)
    directions = torch.nn.functional.normalize(torch.from_numpy(random.standard_normal((PLANTED, d_model))).float())
    popularity = 1 / np.arange(1, PLANTED + 1) ** 0.6
    states = torch.empty(tokens, d_model)
    for part in states.split(8192):
        which = random.choice(PLANTED, (len(part), 16), p=popularity / popularity.sum())
        lengths = torch.from_numpy(random.gamma(2.0, 1.0, which.shape)).float()
        sums = torch.nn.functional.embedding_bag(
            torch.from_numpy(which), directions, per_sample_weights=lengths, mode="sum"
        )
        part.copy_(sums).add_(torch.from_numpy(random.standard_normal(part.shape)).float(), alpha=0.02)
    return states.numpy()


def write_states(source: Path | None, tokens: int, d_model: int, path: Path) -> None:
    """The states of the race [tokens + HELD_OUT, d], float32, centred and of mean length sqrt(d)."""
    if source is None:
        states = planted_states(tokens + HELD_OUT, d_model)
    else:
        given = np.load(source, mmap_mode="r")
        if len(given) < tokens + HELD_OUT:
            raise SystemExit(f"{source} holds {len(given)} states, {tokens + HELD_OUT} are needed; lower --laps")
        chosen = np.random.default_rng(0).permutation(len(given))[: tokens + HELD_OUT]
        states = given[np.sort(chosen)].astype(np.float32)
        np.random.default_rng(1).shuffle(states)
    states -= states.mean(axis=0)
    states *= states.shape[1] ** 0.5 / np.linalg.norm(states, axis=1).mean()
    np.save(path, states)


def race_rows(report: Report, outcomes: dict[str, Outcome], task: Task) -> None:
    ours = outcomes[OURS]
    suffix = "_auxk" if task.dead_after else ""
    memory: dict[str, float] = {}
    for name, (metric, goal) in GOALS.items():
        found = {key: outcome for key, outcome in outcomes.items() if key.startswith(name)}
        if found:
            fastest = min(found, key=lambda key: median(found[key].seconds))
            theirs = found[fastest]
            ratio = median(slow / fast for slow, fast in zip(theirs.seconds, ours.seconds))
            report.add(metric + suffix, ratio, "times", goal, f"{theirs.version}, {fastest}: its fastest here")
            memory[fastest] = ours.grown_mib / theirs.grown_mib
    if memory:
        note = ", ".join(f"{ratio:.2f} of {key}" for key, ratio in memory.items())
        report.add(f"memory_ratio{suffix}", max(memory.values()), "share", "at most 1", note)
    for key, outcome in outcomes.items():
        label = "saelex" if key == OURS else key.replace(":", "_")
        speed = task.steps * task.batch / median(outcome.seconds)
        report.add(f"{label}{suffix}_tokens_per_s", speed, "tokens/s", None, f"{task.threads} threads")
        report.add(f"{label}{suffix}_peak_mib", outcome.grown_mib, "MiB", None, f"total {outcome.peak_mib:.0f} MiB")
        report.add(f"{label}{suffix}_fvu", outcome.fvu, "share", None, f"after {task.tokens:,} tokens")


@dataclass(frozen=True)
class Backward:
    """A backward through encoder and decoder, ours or plain autograd's."""

    width: int
    k: int
    batch: int
    d_model: int
    plain: bool

    def prepare(self) -> Callable[[], float]:
        """A function that runs forward and backward and returns the backward's seconds."""
        generator = torch.Generator().manual_seed(0)
        rows = torch.randn(self.width, self.d_model, generator=generator)
        W_dec = torch.nn.functional.normalize(rows).requires_grad_()
        W_enc = W_dec.detach().clone().T.requires_grad_()
        b_enc, b_dec = torch.zeros(self.width, requires_grad=True), torch.zeros(self.d_model, requires_grad=True)
        states = torch.randn(self.batch, self.d_model, generator=generator)

        spares = Spares()

        def forward() -> Tensor:
            if self.plain:
                pre = (states - b_dec) @ W_enc + b_enc
                best, latents = pre.topk(self.k, dim=1)
                return torch.zeros_like(pre).scatter(1, latents, best.relu()) @ W_dec + b_dec
            codes = encode_topk(states, b_dec, W_enc, b_enc, self.k, spares=spares)
            return decode_topk(codes.values, codes.latents, W_dec, spares) + b_dec

        def backward() -> float:
            for matrix in () if self.plain else (W_dec, W_enc):  # as the trainer does
                gradient, matrix.grad = matrix.grad, None
                spares.give(gradient)
                del gradient
            for parameter in (W_dec, W_enc, b_enc, b_dec):
                parameter.grad = None
            reconstruction = forward()
            start = time.perf_counter()
            reconstruction.backward(states)
            return time.perf_counter() - start

        return backward


def backward_rows(report: Report, batch: int, d_model: int, repeats: int) -> None:
    for plain in (False, True):
        of = Backward(16_384, 32, batch, d_model, plain)
        cases = [of, replace(of, width=65_536), replace(of, k=16), replace(of, k=64)]
        runs = [case.prepare() for case in cases]
        taken = [[run() for run in runs] for _ in range(repeats + 1)][1:]
        base, wide, low, high = (median(times) for times in zip(*taken))
        prefix = "plain_backward" if plain else "backward"
        note = f"{wide * 1000:.0f} ms / {base * 1000:.0f} ms"
        report.add(f"{prefix}_width_ratio", wide / base, "times", None if plain else "near 1", note)
        note = f"{high * 1000:.0f} ms / {low * 1000:.0f} ms"
        report.add(f"{prefix}_k_ratio", high / low, "times", None if plain else "at most 4", note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=16_384)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--batch", type=int, default=2_048, help="tokens of a step")
    parser.add_argument("--d", type=int, default=384, help="dimensions of the synthetic states")
    parser.add_argument("--states", type=Path, help="float .npy file [tokens, d] to train on instead")
    parser.add_argument("--laps", type=int, default=26)
    parser.add_argument("--steps", type=int, default=8, help="training steps of a lap")
    parser.add_argument("--dead-after", type=int, default=0, help="tokens until AuxK revives a latent; 0: no AuxK")
    parser.add_argument("--learning-rate", type=float, default=0.003, help="of every Adam")
    parser.add_argument("--settings", nargs="*", choices=OTHERS, default=OTHERS[:3], help="trainers to compare with")
    parser.add_argument("--saelens-python", default=sys.executable)
    parser.add_argument("--sparsify-python", default=sys.executable)
    parser.add_argument("--backward-repeats", type=int, default=5, help="0 leaves the backward out")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    pythons = {"saelex": sys.executable, "saelens": given.saelens_python, "sparsify": given.sparsify_python}
    report = Report(f"Training a TopK SAE: width {given.width:,}, k {given.k}, {given.batch:,} tokens per step")
    with tempfile.TemporaryDirectory() as folder:
        states = Path(folder) / "states.npy"
        task = Task(
            states=str(states),
            width=given.width,
            k=given.k,
            batch=given.batch,
            laps=given.laps,
            steps=given.steps,
            dead_after=given.dead_after,
            learning_rate=given.learning_rate,
            threads=threads,
        )
        write_states(given.states, task.tokens, given.d, states)
        race_rows(report, race(task, list(given.settings), pythons, Path(folder)), task)
    if given.backward_repeats:
        backward_rows(report, given.batch, given.d, given.backward_repeats)
    report.print()
    if given.json:
        report.write(given.json)


if __name__ == "__main__":
    main()
