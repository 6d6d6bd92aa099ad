"""One writer at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from saelex.errors import SaelexError
from saelex.index.disk import durable

_HELD: set[int] = set()  # descriptors of the locks that this process holds


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Hold the right to write to the index in `folder`.

    An advisory lock on the file `writer.lock`: the operating system drops it when the process ends, however it ends.
    Readers take no lock. A forked process does not inherit it, and so cannot keep it when the writer is gone.
    Raises SaelexError at once when somebody else holds it.
    """
    path = folder / "writer.lock"
    durable.check_own(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    _HELD.add(descriptor)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SaelexError(
                f"{folder}: another process is writing to this index; try again when it is done"
            ) from error
        yield
    finally:
        if descriptor in _HELD:  # not in a forked process that leaves the block of its parent
            _HELD.discard(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _let_go_after_fork() -> None:
    # the lock belongs to all who have the descriptor open: closed here, it is the parent's alone
    for descriptor in _HELD:
        os.close(descriptor)
    _HELD.clear()


os.register_at_fork(after_in_child=_let_go_after_fork)
