"""One writer at a time."""

from __future__ import annotations

import fcntl
import logging
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from saelex.errors import InputError, LockedError
from saelex.index.disk import durable

logger = logging.getLogger(__name__)

_BETWEEN = 0.05  # seconds between two tries
_HELD: set[int] = set()  # descriptors of the locks that this process holds


@contextmanager
def writer_lock(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold the right to write to the index in `folder`, waiting up to so many seconds for it.

    An advisory lock on the file `writer.lock`: the operating system drops it when the process ends, however it ends.
    Readers take no lock. A forked process does not inherit it, and so cannot keep it when the writer is gone.
    Raises LockedError when somebody else holds it still after that time; who waits has no place in a queue.
    """
    path = folder / "writer.lock"
    durable.check_own(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    _HELD.add(descriptor)
    try:
        _lock(descriptor, folder, wait)
        yield
    finally:
        if descriptor in _HELD:  # not in a forked process that leaves the block of its parent
            _HELD.discard(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def check_wait(wait: Any) -> float:
    """Raises InputError for what is no number of seconds to wait: one from 0 on, `math.inf` for without end."""
    if isinstance(wait, bool) or not isinstance(wait, (int, float)) or not wait >= 0:
        raise InputError(f"wait is a number of seconds, from 0 on, not {wait!r}")
    return float(wait)


def _lock(descriptor: int, folder: Path, wait: float) -> None:
    # flock has no time limit of its own, and a signal to end it is for the main thread alone: so it is asked again
    until = math.inf if wait == math.inf else time.monotonic() + wait
    waiting = False
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            left = until - time.monotonic()
            if left <= 0:
                waited = f", still after {wait:g} seconds" if wait else ""
                raise LockedError(
                    f"{folder}: another process is writing to this index{waited}; try again when it is done"
                ) from error
        if not waiting:
            logger.info("%s: waiting for another process that writes to this index", folder)
            waiting = True
        time.sleep(min(left, _BETWEEN))


def _let_go_after_fork() -> None:
    # the lock belongs to all who have the descriptor open: closed here, it is the parent's alone
    for descriptor in _HELD:
        os.close(descriptor)
    _HELD.clear()


os.register_at_fork(after_in_child=_let_go_after_fork)
