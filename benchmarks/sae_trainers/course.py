"""What every trainer of `sae_training.py` runs on: one task, its batches in laps, and the measurements of its process.

It needs numpy and torch alone, for it also runs in environments that hold another trainer and not saelex. The two ends
talk in lines: the trainer says {"ready": ...} once it asks for its first batch, then {"seconds": ...} after every lap,
then {"peak_mib": ...} and the other results; the benchmark answers the first two with "go".
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

HELD_OUT = 4096  # the file's last states: not trained on, the FVU is theirs
AUX_COEFFICIENT = 1 / 32  # of all trainers


@dataclass(frozen=True)
class Task:
    """One training run. `steps` make a lap; `dead_after`: tokens until a latent counts as dead, 0 for no AuxK."""

    states: str
    setting: str = "default"
    width: int = 16_384
    k: int = 32
    batch: int = 2_048
    laps: int = 1
    steps: int = 4
    dead_after: int = 0
    learning_rate: float = 0.003
    threads: int = 1

    @property
    def total_steps(self) -> int:
        return self.laps * self.steps

    @property
    def tokens(self) -> int:
        return self.total_steps * self.batch


Reconstruct = Callable[[Tensor], Tensor]
# (task, batches [batch, d], all their states [tokens, d]): trains until no batch is left; the trained SAE as a function
Train = Callable[[Task, Iterator[Tensor], Tensor], Reconstruct]


def run(train: Train, package: str) -> None:
    """The whole program of a trainer, whose code is in the package."""
    task = Task(**json.loads(sys.argv[1]))
    wires = os.fdopen(int(sys.argv[2]), "w", buffering=1)  # not the standard output, where trainers print
    torch.set_num_threads(task.threads)
    torch.manual_seed(0)
    states = torch.from_numpy(np.load(task.states))  # [tokens, d]
    # everything that is imported or compiled once, at a small size
    small = replace(task, width=1024, laps=1, steps=3, dead_after=min(task.dead_after, task.batch))
    train(small, iter(states[: small.tokens].split(task.batch)), states[: small.tokens])
    before = _status_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    course = _Course(states[: task.tokens], task, wires)
    reconstruct = train(task, iter(course), course.states)
    course.end_lap()
    results: dict[str, Any] = {"peak_mib": _status_mib("VmHWM"), "before_mib": before}
    results["version"] = f"{package} {metadata.version(package)}"
    results |= _quality(reconstruct, states[-HELD_OUT:])
    print(json.dumps(results), file=wires)


class _Course:
    """Batches in the order of the file; the clock runs from the first batch of a lap until the next lap's is asked."""

    def __init__(self, states: Tensor, task: Task, wires: Any) -> None:
        self.states, self.task, self.wires = states, task, wires
        self.started: float | None = None

    def __iter__(self) -> Iterator[Tensor]:
        for step, batch in enumerate(self.states.split(self.task.batch)):
            if step % self.task.steps == 0:
                self.end_lap()
                if not sys.stdin.readline():
                    raise SystemExit("the benchmark has gone")
                self.started = time.perf_counter()
            yield batch

    def end_lap(self) -> None:
        took = None if self.started is None else time.perf_counter() - self.started
        print(json.dumps({"ready": True} if took is None else {"seconds": took}), file=self.wires)


@torch.no_grad()
def _quality(reconstruct: Reconstruct, held_out: Tensor) -> dict[str, float]:
    """FVU: squared error over the squared distance from the mean."""
    wrong = sum(float((part - reconstruct(part)).pow(2).sum()) for part in held_out.split(1024))
    return {"fvu": wrong / float((held_out - held_out.mean(dim=0)).pow(2).sum())}


def _status_mib(key: str) -> float:
    """A memory figure of this process from /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024
