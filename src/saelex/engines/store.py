"""What live engines share: passages as entries, the protocol of vectors over them, and patience.

An engine's file gives the few operations below `Store`; each may be asked again after the connection was lost, and
leaves the same behind whether it is done once or twice.
"""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from saelex.engines.facets import Facets, Test
from saelex.engines.files.format import Vector
from saelex.engines.url import EngineUrl
from saelex.errors import InputError, SaelexError
from saelex.index.engine import (
    Hits,
    Limits,
    check_columns,
    check_documents,
    check_known,
    check_new,
    check_queries,
    closed,
    distinct,
)
from saelex.vectors import SparseRows

T = TypeVar("T")
FIELDS = ("digest", "document", "place", "start", "end", "title", "text", "metadata")
"""What an entry holds beside its id, its vector and what it is filtered by."""
STATE = "saelex:"
"""Ids of the records that say what a collection holds begin so; their vectors are empty, so that no search finds them."""
_HEAD = f"{STATE}columns"
_EMPTY = Vector(np.zeros(0, np.int32), np.zeros(0, np.float32))


class Unavailable(SaelexError):
    """The engine does not answer now; it may when asked again."""


@dataclass(frozen=True)
class Entry:
    """One passage as engines keep it. The first of a document has the document's own id, and its whole text.

    digest: of all that is here, so that what has changed is known without reading it. place: its number in the index.
    start, end: the passage's characters in the document's content. title, metadata: the document's.
    """

    id: str
    vector: Vector = _EMPTY
    digest: str = ""
    document: str = ""
    place: int = 0
    start: int = 0
    end: int = 0
    title: str = ""
    text: str = ""
    metadata: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def facets(self) -> Facets:
        """What it is filtered by."""
        return Facets([], {}, {}) if self.id.startswith(STATE) else Facets.of(self.metadata)

    def fields(self) -> dict[str, Any]:
        """All but id and vector, as JSON values."""
        return {**{name: getattr(self, name) for name in FIELDS}, "metadata": dict(self.metadata)}

    @classmethod
    def of(cls, name: str, fields: Mapping[str, Any], vector: Vector = _EMPTY) -> Entry:
        """From what an engine gave back; fields that it did not have are empty."""
        return cls(name, vector, **{key: fields[key] for key in FIELDS if fields.get(key) is not None})


class Found(NamedTuple):
    """An entry that a search found, without its vector."""

    entry: Entry
    score: float


class Store(ABC):
    """An engine's collection behind the protocol `VectorEngine`. Open it with `create` or `open`.

    limits, options: what the engine caps, and what may stand behind ? in its URL. batch: entries sent at once.
    patience: seconds for which an engine that does not answer is asked again, at growing intervals.
    """

    limits: Limits = Limits()
    options: ClassVar[frozenset[str]] = frozenset()
    batch: ClassVar[int] = 500
    n_latents: int

    def __init__(self, url: EngineUrl) -> None:
        self.url = url
        self.patience = 5.0
        self._closed = False

    @classmethod
    def create(cls, url: EngineUrl, n_latents: int) -> Store:
        """A new collection. Raises InputError where there is one of that name."""
        with cls(url)._closed_on_failure() as store:
            if store._ask(store._exists):
                raise InputError(f"{url}: exists already; choose another name, or remove it first")
            store._create(n_latents)
            return store

    @classmethod
    def open(cls, url: EngineUrl) -> Store:
        """Raises InputError for a collection that is not there, or that `create` did not make."""
        with cls(url)._closed_on_failure() as store:
            if not store._ask(store._exists):
                raise InputError(f"{url}: no such collection; `saelex push INDEX {url}` makes it")
            store._open()
            return store

    @classmethod
    def at(cls, url: EngineUrl, n_latents: int) -> Store:
        """The collection that is there, with so many columns at least; else a new one."""
        with cls(url)._closed_on_failure() as store:
            if not store._ask(store._exists):
                store._create(n_latents)
            elif store._ask(lambda: store._page(None, ()))[0]:
                store._open()
            else:  # its making was interrupted
                store.n_latents = 0
            store.columns(max(n_latents, store.n_latents))
            return store

    def _create(self, n_latents: int) -> None:
        check_columns(n_latents, self.limits)
        self._ask(self._make)
        self.columns(n_latents)

    def _open(self) -> None:
        head = self.get([_HEAD]).get(_HEAD)
        if head is None:
            raise InputError(f"{self.url}: not a collection that `saelex push` made; choose another name")
        self.n_latents = int(head.text)

    @contextmanager
    def _closed_on_failure(self) -> Iterator[Store]:
        try:
            yield self
        except BaseException:
            self.close()
            raise

    def columns(self, n_latents: int) -> None:
        """Set the number of columns, which grows with the words. Raises InputError beyond what the engine takes."""
        check_columns(n_latents, self.limits)
        self.n_latents = n_latents
        self.put([Entry(_HEAD, text=str(n_latents))])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.url)!r})"

    # ---- the protocol of vectors --------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self._ask(self._count)

    def add(self, ids: Sequence[str], vectors: SparseRows) -> None:
        """See `VectorEngine`."""
        check_documents(self, ids, vectors)
        for name in ids:
            if name.startswith(STATE):
                raise InputError(f"the id {name!r} begins as saelex' own records do; choose another")
        check_new(ids, self.digests(ids))
        self.put(Entry(name, Vector(*row)) for name, row in zip(ids, vectors))

    def delete(self, ids: Iterable[str]) -> None:
        """See `VectorEngine`."""
        gone = distinct(ids)
        check_known(gone, self.digests(gone))
        self.remove(gone)

    def search(self, queries: SparseRows, k: int = 10) -> Hits:
        """See `VectorEngine`."""
        check_queries(self, queries, k)
        found = [self.nearest(Vector(*row), k) for row in queries]
        return Hits(
            [[one.entry.id for one in each] for each in found],
            [np.array([one.score for one in each], np.float64) for each in found],
        )

    def close(self) -> None:
        """See `VectorEngine`."""
        if not self._closed:
            self._closed = True
            self._close()

    # ---- entries ----------------------------------------------------------------------------------------------------

    def put(self, entries: Iterable[Entry]) -> None:
        """Write entries in place of those with the same ids."""
        for some in batches(entries, self.batch):
            self._ask(lambda some=some: self._put(some))  # type: ignore[misc]

    def get(self, ids: Iterable[str], fields: Sequence[str] = FIELDS, *, vectors: bool = False) -> dict[str, Entry]:
        """The entries of ids, those that are not there left out."""
        found: dict[str, Entry] = {}
        for some in batches(ids, self.batch):
            entries = self._ask(lambda some=some: self._get(some, fields, vectors))  # type: ignore[misc]
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

    def nearest(self, query: Vector, k: int, tests: Sequence[Test] = ()) -> list[Found]:
        """The k entries with the largest dot products above zero that pass the tests, best first."""
        if not len(query.columns) or any(test.operator == "any" and not test.value for test in tests):
            if self._closed:
                raise closed(self)
            return []
        told = [test for test in tests if test.value not in ([],)]
        return [one for one in self._ask(lambda: self._nearest(query, k, told)) if one.score > 0]

    def _ask(self, call: Callable[[], T]) -> T:
        """Call, and again while the engine does not answer, for as long as our patience lasts."""
        started, wait = time.monotonic(), 0.05
        while True:
            if self._closed:
                raise closed(self)
            try:
                return call()
            except Unavailable as error:
                if time.monotonic() - started + wait > self.patience:
                    raise Unavailable(f"{self.url}: does not answer ({error}); is it running, and reachable?") from error
                time.sleep(wait * random.uniform(0.5, 1.0))  # so that several do not all come at once
                wait = min(2 * wait, 5.0)

    # ---- what an engine's file gives ----------------------------------------------------------------------------------
    # Each raises Unavailable where asking again may help, and SaelexError for what the engine refuses.

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
        """Entries behind a place that the page before gave (None: the first ones), and the next place (None: the end)."""

    @abstractmethod
    def _remove(self, ids: Sequence[str]) -> None: ...

    @abstractmethod
    def _nearest(self, query: Vector, k: int, tests: Sequence[Test]) -> Iterable[Found]: ...

    @abstractmethod
    def _close(self) -> None: ...


def batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """The values in lists of so many."""
    rest = iter(values)
    while some := list(islice(rest, size)):
        yield some
