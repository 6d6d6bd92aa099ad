"""What an engine's file gives, and the patience with which it is asked.

Each of these may be asked again after the connection was lost, and leaves the same behind whether it is done once or
twice. They raise UnavailableError where asking again may help, and SaelexError for what the engine refuses.
"""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import RLock
from typing import Any, ClassVar, TypeVar

from saelex.engines.entry import FIELDS, STATE, Entry, Found, batches
from saelex.engines.facets import Test
from saelex.engines.files.format import Vector
from saelex.engines.url import EngineUrl
from saelex.errors import SaelexError
from saelex.index.engine import Limits

T = TypeVar("T")


class UnavailableError(SaelexError):
    """The engine does not answer now; it may when asked again."""


class EngineCalls(ABC):
    """The connection to one collection.

    limits, options: what the engine caps, and what may stand behind ? in its URL. batch: entries sent at once.
    patience: seconds for which an engine that does not answer is asked again, at growing intervals.
    """

    limits: Limits = Limits()
    options: ClassVar[frozenset[str]] = frozenset()
    batch: ClassVar[int] = 500

    def __init__(self, url: EngineUrl) -> None:
        self.url = url
        self.patience = 5.0
        self._closed = False
        self._lock = RLock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.url)!r})"

    def close(self) -> None:
        """See `VectorEngine`."""
        if not self._closed:
            self._closed = True
            self._close()

    def put(self, entries: Iterable[Entry]) -> None:
        """Write entries in place of those with the same ids."""
        for some in batches(entries, self.batch):
            self._ask(lambda some=some: self._put(some))  # type: ignore[misc]

    def get(self, ids: Iterable[str], fields: Sequence[str] = FIELDS, *, vectors: bool = False) -> dict[str, Entry]:
        """The entries of ids, those that are not there left out."""
        found: dict[str, Entry] = {}
        for some in batches(ids, self.batch):
            entries = self._ask(lambda some=some: list(self._get(some, fields, vectors)))  # type: ignore[misc]
            found |= {entry.id: entry for entry in entries}
        return found

    def digests(self, ids: Iterable[str]) -> dict[str, str]:
        """The digests of ids that are there."""
        return {name: entry.digest for name, entry in self.get(ids, ("digest",)).items()}

    def remove(self, ids: Iterable[str]) -> None:
        """Delete entries; ids that are not there are no error."""
        for some in batches(ids, self.batch):
            self._ask(lambda some=some: self._remove(some))  # type: ignore[misc]

    def scan(self, fields: Sequence[str] = ()) -> Iterator[list[Entry]]:
        """All entries in the order of the engine, without vectors, page by page."""
        after: Any = None
        while True:
            page, after = self._ask(lambda after=after: self._page(after, fields))  # type: ignore[misc]
            if entries := [entry for entry in page if not entry.id.startswith(STATE)]:
                yield entries
            if after is None:
                return

    def _ask(self, call: Callable[[], T]) -> T:
        """Call, and again while the engine does not answer, for as long as our patience lasts."""
        started, wait = time.monotonic(), 0.05
        while True:
            if self._closed:
                raise SaelexError(f"{self!r}: the index is closed; open or make it again")
            try:
                with self._lock:  # one connection, which the threads of a process take in turns
                    return call()
            except UnavailableError as error:
                if time.monotonic() - started + wait > self.patience:
                    raise UnavailableError(f"{self.url} does not answer: {error}; is it running?") from error
                time.sleep(wait * random.uniform(0.5, 1.0))  # so that several do not all come at once
                wait = min(2 * wait, 5.0)

    def merge(self) -> None:  # noqa: B027
        """Put in order what many writes left, where that is not done by itself: the end of a push."""

    @abstractmethod
    def _exists(self) -> bool: ...

    @abstractmethod
    def _make(self) -> None: ...

    @abstractmethod
    def _count(self) -> int:
        """Entries tagged `facets.ENTRY`."""

    @abstractmethod
    def _put(self, entries: Sequence[Entry]) -> None: ...

    @abstractmethod
    def _get(self, ids: Sequence[str], fields: Sequence[str], vectors: bool) -> Iterable[Entry]: ...

    @abstractmethod
    def _page(self, after: Any, fields: Sequence[str]) -> tuple[list[Entry], Any]:
        """Entries from where the page before ended (None: the first), and where this one does (None: at the end)."""

    @abstractmethod
    def _remove(self, ids: Sequence[str]) -> None: ...

    @abstractmethod
    def _nearest(self, query: Vector, k: int, tests: Sequence[Test], fields: Sequence[str]) -> Iterable[Found]: ...

    @abstractmethod
    def _close(self) -> None: ...
