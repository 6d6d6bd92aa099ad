"""A queue whose waiting items are worked on together, in one thread, so that the event loop goes on.

What comes while the thread is busy is its next batch: at rest nobody waits, and under load batches grow by themselves.
After a batch of several the queue waits a moment for as many: those that were answered together ask again together.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_TOGETHER = 256  # items that are handed to the thread at once
_RECENT = 4  # waits: a batch that ended longer ago tells nothing of the next


class QueueFullError(Exception):
    """Too much waits already; it can be tried again in a moment."""


@dataclass(frozen=True)
class Done(Generic[Result]):
    """What came of an item. queued, worked: seconds that it waited, and that its batch took."""

    value: Result
    queued: float
    worked: float


@dataclass(eq=False)
class _Waiting(Generic[Item, Result]):
    item: Item
    done: asyncio.Future[Done[Result]]
    since: float = field(default_factory=time.monotonic)


class Batcher(Generic[Item, Result]):
    """Items of concurrent callers, worked on together.

    work: called in the queue's own thread with what waits, the first ones first; returns results (or errors) of as many
    of them as it took, one at least; the others wait on. most: items that may wait. wait: seconds that a busy queue
    waits for more items, at most. batched: told how many items each batch had.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        *,
        name: str,
        most: int,
        wait: float,
        batched: Callable[[int], None] = lambda items: None,
    ) -> None:
        self._work = work
        self._most = most
        self._wait = wait
        self._batched = batched
        self._thread = ThreadPoolExecutor(1, name)
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._running: asyncio.Task[None] | None = None
        self._come = asyncio.Event()
        self._last, self._ended = 1, 0.0  # items of the last batch, and when it ended

    def __len__(self) -> int:
        """Items that wait, those of the batch under way included."""
        return len(self._waiting)

    async def submit(self, items: Sequence[Item]) -> list[Done[Result]]:
        """Wait for the items' turn and their results. A caller that is cancelled takes its items out of the queue.

        Raises QueueFullError where too many would wait (an empty queue takes any number), and what the work raises of
        one of these items.
        """
        if self._waiting and len(self._waiting) + len(items) > self._most:
            raise QueueFullError
        loop = asyncio.get_running_loop()
        asked: list[_Waiting[Item, Result]] = [_Waiting(item, loop.create_future()) for item in items]
        self._waiting.extend(asked)
        self._come.set()
        if self._running is None and asked:
            self._running = asyncio.create_task(self._run())
        return await asyncio.gather(*(waiting.done for waiting in asked))

    def close(self) -> None:
        """Let the batch under way end, and take no more."""
        self._thread.shutdown()

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                batch = list(islice(self._waiting, _MOST_TOGETHER))
                if not batch:
                    break
                start = time.monotonic()
                results = await self._results([waiting.item for waiting in batch])
                self._last, self._ended = len(results), time.monotonic()
                self._batched(len(results))
                for waiting, result in zip(batch, results):
                    _settle(waiting, result, start, self._ended)
                self._drop_settled()
        finally:
            self._running = None

    async def _gather(self) -> None:
        """Wait for as many items as the last batch had, if that was of several and ended just now."""
        until = time.monotonic() + self._wait
        if self._last > 1 and time.monotonic() - self._ended < _RECENT * self._wait:
            while len(self._waiting) < self._last and (left := until - time.monotonic()) > 0:
                self._come.clear()
                try:
                    await asyncio.wait_for(self._come.wait(), left)
                except asyncio.TimeoutError:
                    break
        self._drop_settled()  # whose callers are gone

    async def _results(self, items: Sequence[Item]) -> Sequence[Result | Exception]:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._work, items)
        except Exception as error:
            return [error] * len(items)

    def _drop_settled(self) -> None:
        self._waiting = deque(waiting for waiting in self._waiting if not waiting.done.done())


def _settle(waiting: _Waiting[Item, Result], result: Result | Exception, start: float, end: float) -> None:
    if waiting.done.done():
        return
    if isinstance(result, Exception):
        waiting.done.set_exception(result)
    else:
        waiting.done.set_result(Done(result, start - waiting.since, end - start))
