"""Encoding in several processes: one encoder each, windows of texts handed out, rows taken back in order.

Workers are spawned, so a script that uses them needs the usual `if __name__ == "__main__":` guard.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import Queue
from typing import Protocol

from saelex.encoder.settings import Side
from saelex.errors import InputError, SaelexError
from saelex.top_k import TopKSetting
from saelex.vectors import SparseRows

Processes = int | Sequence[str] | None
"""A number of processes on the encoder's device, or one device per process (`["cuda:0", "cuda:1"]`)."""


class WorkerEncoder(Protocol):
    """What a worker does its work with: an `Encoder`, which lies above this module."""

    def encode(self, texts: list[str], *, side: Side, top_k: TopKSetting) -> SparseRows:
        """Rows of the texts, in their order."""


LoadEncoder = Callable[..., WorkerEncoder]
"""Makes a worker's encoder when it is given a `device`; it is sent to the new process, pickled."""


def worker_devices(processes: Processes, device: str) -> list[str]:
    """The device of each worker process; empty where one process, this one, is asked for."""
    if processes is None:
        return []
    if isinstance(processes, int) and processes >= 1:
        return [device] * processes if processes > 1 else []
    if isinstance(processes, (list, tuple)) and processes and all(isinstance(device, str) for device in processes):
        return list(processes)
    raise InputError(
        f"processes is a positive number or a list of devices such as ['cuda:0', 'cuda:1'], not {processes!r}"
    )


def encode_windows(
    load: LoadEncoder,
    devices: Sequence[str],
    windows: Iterable[list[str]],
    side: Side,
    top_k: TopKSetting,
) -> Generator[SparseRows, None, None]:
    """Rows of every window, in order, from one worker process per device.

    load: `Encoder.load` with all it takes but the device, the dtype of the backbone included: a folder that names its
        backbone by a hub id does not say.

    At most two windows per worker are under way, so that memory does not grow with the stream. The windows' texts are
    checked already and differ from each other. Raises SaelexError when a worker dies (out of memory, usually).
    """
    context = multiprocessing.get_context("spawn")
    waiting: Queue[str] = context.Queue()
    for device in devices:
        waiting.put(device)
    threads = max(1, (os.cpu_count() or 1) // len(devices))
    under_way: deque[Future[SparseRows]] = deque()
    with ProcessPoolExecutor(
        len(devices), mp_context=context, initializer=_start_worker, initargs=(load, waiting, threads)
    ) as pool:
        try:
            for window in windows:
                under_way.append(pool.submit(_encode_window, window, side, top_k))
                if len(under_way) >= 2 * len(devices):
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        except BrokenProcessPool as error:
            raise SaelexError(
                "an encoding process died or could not start: use fewer processes if memory is short, "
                'and keep the calling script under `if __name__ == "__main__":`'
            ) from error
        finally:
            for future in under_way:
                future.cancel()


_encoder: WorkerEncoder | None = None
"""A worker process's own encoder."""


def _start_worker(load: LoadEncoder, waiting: Queue[str], threads: int) -> None:
    # all are read when the libraries first start their thread pools, which they have not done yet in a new process
    os.environ["RAYON_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
    global _encoder
    _encoder = load(device=waiting.get())
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)


def _encode_window(texts: list[str], side: Side, top_k: TopKSetting) -> SparseRows:
    assert _encoder is not None  # the initialiser ran
    return _encoder.encode(texts, side=side, top_k=top_k)
