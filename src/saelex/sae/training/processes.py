"""Training by several processes at once, one GPU each: what they tell each other. One process talks to nobody."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor

from saelex.errors import InputError
from saelex.installation import needs_extra
from saelex.sae.training.buffer import StateSource

Value = TypeVar("Value")


@dataclass(frozen=True)
class Processes:
    """This process among `count`; number 0, the main one, writes files and talks to the user."""

    rank: int = 0
    count: int = 1

    @classmethod
    def start(cls, device: str) -> Processes:
        """Meet the processes that `accelerate launch` (or torchrun) started; alone where it did not.

        Raises InputError without accelerate.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        try:
            from accelerate import PartialState
        except ImportError as error:
            raise needs_extra("a run of several processes", "accelerate", "train") from error
        state = PartialState(cpu=device.startswith("cpu"))
        return cls(state.process_index, state.num_processes)

    @property
    def main(self) -> bool:
        return self.rank == 0

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over the processes."""
        if self.count > 1:
            for tensor in tensors:
                dist.all_reduce(_contiguous(tensor))
                tensor.div_(self.count)

    def minimum(self, tensor: Tensor) -> None:
        """Replace a tensor by its minimum over the processes."""
        if self.count > 1:
            dist.all_reduce(tensor, dist.ReduceOp.MIN)

    def from_main(self, compute: Callable[[], Value]) -> Value:
        """What the main process computes; only it does, and an InputError of its own is everybody's."""
        if self.count == 1:
            return compute()
        answer: list[Any] = [None, None]
        if self.main:
            try:
                answer[0] = compute()
            except InputError as error:
                answer[1] = str(error)
        dist.broadcast_object_list(answer)
        if answer[1] is not None:
            raise InputError(answer[1])
        value: Value = answer[0]
        return value

    def everyones(self, value: Value) -> list[Value]:
        """One value of each process, in their order, for all of them."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values


class Share:
    """The chunks of a source that are this process's own: every `count`-th."""

    def __init__(self, source: StateSource, processes: Processes) -> None:
        self.source = source
        self.processes = processes
        self.d_model = source.d_model

    def chunks(self, epoch: int, start: int, stride: int = 1) -> Iterator[Tensor]:
        rank, count = self.processes.rank, self.processes.count
        return self.source.chunks(epoch, rank + start * count, stride * count)


def share_of(source: StateSource, processes: Processes) -> StateSource:
    """This process's part of a source; what is a part already stays as it is."""
    return source if processes.count == 1 or isinstance(source, Share) else Share(source, processes)


def _contiguous(tensor: Tensor) -> Tensor:
    """The same memory in order; W_enc and its gradient lie transposed."""
    return tensor if tensor.is_contiguous() else tensor.T
