"""The queue: what comes while it is busy is worked on together, in order, and a bounded number waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from saelex.server.queue import Batcher, QueueFullError

PATIENCE = 60


class Working:
    """Doubles numbers when it is told to; keeps what it got together."""

    def __init__(self, most: int = 100) -> None:
        self.batches: list[list[int]] = []
        self.most = most
        self.told = threading.Event()
        self.begun = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.begun.set()
        assert self.told.wait(PATIENCE)
        self.batches.append(list(items[: self.most]))
        return [ValueError(item) if item < 0 else 2 * item for item in items[: self.most]]


def batcher(work: Working, **options: Any) -> Batcher[int, int]:
    return Batcher(work, name="test", **{"most": 50, "wait": 0.0, **options})


async def doubled(queue: Batcher[int, int], number: int) -> int:
    [done] = await queue.submit([number])
    return done.value


async def begun(work: Working) -> None:
    while not work.begun.is_set():
        await asyncio.sleep(0)


def test_what_comes_meanwhile_is_one_batch() -> None:
    work, told = Working(), list[int]()
    queue = batcher(work, batched=told.append)

    async def ask() -> list[int]:
        first = asyncio.create_task(doubled(queue, 1))
        await begun(work)
        others = [asyncio.create_task(doubled(queue, n)) for n in range(2, 8)]
        await asyncio.sleep(0)
        assert len(queue) == 7
        work.told.set()
        return await asyncio.gather(first, *others)

    assert asyncio.run(ask()) == [2, 4, 6, 8, 10, 12, 14]
    assert work.batches == [[1], [2, 3, 4, 5, 6, 7]] and told == [1, 6]
    assert len(queue) == 0


def test_what_the_work_did_not_take_waits_on_in_order() -> None:
    work = Working(most=2)
    work.told.set()
    queue = batcher(work)

    async def ask() -> list[int]:
        return [done.value for done in await queue.submit(range(5))]

    assert asyncio.run(ask()) == [0, 2, 4, 6, 8]
    assert work.batches == [[0, 1], [2, 3], [4]]


def test_an_error_is_its_own_items_alone() -> None:
    work = Working()
    work.told.set()
    queue = batcher(work)

    async def ask() -> list[Any]:
        return await asyncio.gather(*(doubled(queue, n) for n in (1, -5, 2)), return_exceptions=True)

    first, error, last = asyncio.run(ask())
    assert (first, last) == (2, 4) and isinstance(error, ValueError) and error.args == (-5,)


def test_work_that_breaks_breaks_for_all_who_wait_and_the_queue_goes_on() -> None:
    broken = [True]

    def work(items: Sequence[int]) -> list[int]:
        if broken.pop() if broken else False:
            raise RuntimeError("broken")
        return list(items)

    queue: Batcher[int, int] = Batcher(work, name="test", most=5, wait=0.0)

    async def ask() -> Any:
        failed = await asyncio.gather(*(doubled(queue, n) for n in (1, 2)), return_exceptions=True)
        return failed, await doubled(queue, 3)

    failed, then = asyncio.run(ask())
    assert [str(error) for error in failed] == ["broken", "broken"] and then == 3


def test_it_is_full_and_who_gives_up_makes_room() -> None:
    work = Working()
    queue = batcher(work, most=3)

    async def ask() -> list[int]:
        tasks = [asyncio.create_task(doubled(queue, n)) for n in range(3)]
        await begun(work)
        with pytest.raises(QueueFullError):
            await doubled(queue, 3)
        tasks[2].cancel()
        work.told.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        return await asyncio.gather(*tasks[:2], doubled(queue, 9))

    assert asyncio.run(ask()) == [0, 2, 18]
    assert 2 not in [item for batch in work.batches[1:] for item in batch]


def test_an_empty_queue_takes_any_number_at_once() -> None:
    work = Working()
    work.told.set()
    queue = batcher(work, most=3)
    assert [done.value for done in asyncio.run(queue.submit(range(9)))] == list(range(0, 18, 2))
    assert asyncio.run(queue.submit([])) == []


def test_after_a_batch_of_several_it_waits_for_as_many() -> None:
    work = Working()
    work.told.set()
    queue = batcher(work, wait=PATIENCE)  # without end, as far as a test can tell: as many as before end it

    async def ask() -> None:
        await asyncio.gather(*(doubled(queue, n) for n in range(3)))
        again = [asyncio.create_task(doubled(queue, 10))]
        for n in (11, 12):
            await asyncio.sleep(0.01)
            again.append(asyncio.create_task(doubled(queue, n)))
        await asyncio.gather(*again)

    asyncio.run(asyncio.wait_for(ask(), PATIENCE / 2))
    assert work.batches == [[0, 1, 2], [10, 11, 12]]


def test_at_rest_nobody_waits() -> None:
    work = Working()
    work.told.set()
    queue = batcher(work, wait=PATIENCE)

    async def ask() -> None:
        for n in range(3):
            await doubled(queue, n)

    asyncio.run(asyncio.wait_for(ask(), PATIENCE / 2))
    assert work.batches == [[0], [1], [2]]
