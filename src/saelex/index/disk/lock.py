"""One writer at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from saelex.errors import SaelexError


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Hold the right to write to the index in `folder`.

    An advisory lock on the file `writer.lock`: the operating system drops it when the process ends, however it ends.
    Readers take no lock. Raises SaelexError at once when somebody else holds it.
    """
    with (folder / "writer.lock").open("ab") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SaelexError(
                f"{folder}: another process is writing to this index; try again when it is done"
            ) from error
        yield
