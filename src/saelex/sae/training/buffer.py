"""Token states for training: a source of chunks, and a shuffling buffer that draws batches from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saelex.errors import InputError


@runtime_checkable
class StateSource(Protocol):
    """Token states in chunks, the same ones every time they are asked for."""

    d_model: int

    def chunks(self, epoch: int, start: int, stride: int = 1) -> Iterator[Tensor]:
        """Chunks [tokens, d_model] of this pass over the data: number `start`, and every `stride`-th after it."""
        ...


class ArrayStates:
    """States that lie in an array [tokens, d_model], possibly memory-mapped; the order of chunks differs per epoch."""

    def __init__(self, array: NDArray[Any] | Tensor, *, chunk_tokens: int = 4096, seed: int = 0) -> None:
        if array.ndim != 2:
            raise InputError(f"token states are an array [tokens, d_model], not one of shape {list(array.shape)}")
        self.array = array
        self.d_model = int(array.shape[1])
        self.chunk_tokens = chunk_tokens
        self.seed = seed

    def __len__(self) -> int:
        return len(self.array)

    def chunks(self, epoch: int, start: int, stride: int = 1) -> Iterator[Tensor]:
        count = -(-len(self.array) // self.chunk_tokens)
        for chunk in np.random.default_rng([self.seed, epoch]).permutation(count)[start::stride]:
            part = self.array[chunk * self.chunk_tokens : (chunk + 1) * self.chunk_tokens]
            yield part if isinstance(part, Tensor) else torch.from_numpy(np.array(part))


class IterableStates:
    """States from any iterable of chunks that can be walked again; resuming skips the chunks already used."""

    def __init__(self, parts: Iterable[Tensor]) -> None:
        first = next(iter(parts), None)
        if first is None or iter(parts) is parts:
            raise InputError(
                "token states are a tensor or an iterable that can be walked again, such as a list of tensors"
            )
        self.parts = parts
        self.d_model = int(first.shape[-1])

    def chunks(self, epoch: int, start: int, stride: int = 1) -> Iterator[Tensor]:
        return islice(iter(self.parts), start, None, stride)


def as_source(states: StateSource | Tensor | NDArray[Any] | Sequence[Tensor] | Iterable[Tensor]) -> StateSource:
    """Anything that holds token states, as a StateSource."""
    if isinstance(states, StateSource):
        return states
    if isinstance(states, (Tensor, np.ndarray)):
        return ArrayStates(states)
    return IterableStates(states)


@dataclass
class Position:
    """Where a ShuffleBuffer stands: everything needed to draw the same next batch again.

    fill: number of the current filling; epoch, chunk, offset: first token that this filling took from the source;
    batches: how many batches of the filling have been drawn.
    """

    fill: int = 0
    epoch: int = 0
    chunk: int = 0
    offset: int = 0
    batches: int = 0


class ShuffleBuffer:
    """Batches of token states in random order, endlessly, pass after pass over the source.

    The buffer fills up with `capacity` tokens, is shuffled, gives all its batches and fills up again: so a position is
    five numbers, and resuming costs one filling. Tokens mix over `capacity` tokens, which is to be many times the batch
    and many times a text. The last tokens of a pass that do not fill a batch are left out of it.

    Raises InputError where the source is empty.
    """

    def __init__(
        self, source: StateSource, *, batch_tokens: int, capacity: int, seed: int, position: Position | None = None
    ) -> None:
        self.source = source
        self.batch_tokens = batch_tokens
        self.capacity = max(batch_tokens, capacity // batch_tokens * batch_tokens)
        self.seed = seed
        self.position = position or Position()

    def state(self) -> dict[str, int]:
        """The position as JSON values."""
        return asdict(self.position)

    def __iter__(self) -> Iterator[Tensor]:
        """Batches [batch_tokens, d_model], float32."""
        while True:
            held, following = self._fill(self.position)
            order = torch.from_numpy(np.random.default_rng([self.seed, self.position.fill]).permutation(len(held)))
            total = len(held) // self.batch_tokens
            while self.position.batches < total:
                start = self.position.batches * self.batch_tokens
                self.position.batches += 1
                yield held[order[start : start + self.batch_tokens]].float()
            del held
            self.position = following

    def _fill(self, begin: Position) -> tuple[Tensor, Position]:
        """Tokens of the filling that begins at a position, and where the next one begins."""
        held: Tensor | None = None
        filled, epoch, chunk, offset = 0, begin.epoch, begin.chunk, begin.offset
        seen_in_epoch = begin.chunk > 0 or begin.offset > 0
        while filled < self.capacity:
            for part in self.source.chunks(epoch, chunk):
                if held is None:
                    held = torch.empty(self.capacity, part.shape[1], dtype=part.dtype)
                taken = part[offset : offset + self.capacity - filled]
                held[filled : filled + len(taken)] = taken
                filled += len(taken)
                seen_in_epoch |= len(part) > 0
                if offset + len(taken) < len(part):
                    offset += len(taken)
                    break
                chunk, offset = chunk + 1, 0
                if filled == self.capacity:
                    break
            else:
                if not seen_in_epoch:
                    raise InputError("the source of token states is empty; check that the texts are read")
                epoch, chunk, offset, seen_in_epoch = epoch + 1, 0, 0, False
                if filled >= self.batch_tokens:  # never mix two passes in one filling: a token would come twice
                    break
        assert held is not None
        used = filled // self.batch_tokens * self.batch_tokens
        return held[:used], Position(begin.fill + 1, epoch, chunk, offset)
