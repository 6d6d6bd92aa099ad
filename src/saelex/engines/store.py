"""What live engines share: the protocol of vectors over a collection of passages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from saelex.engines.calls import EngineCalls
from saelex.engines.entry import FIELDS, STATE, Entry, Found
from saelex.engines.facets import Test
from saelex.engines.files.format import Vector
from saelex.engines.url import EngineUrl
from saelex.errors import InputError
from saelex.index.engine import (
    Hits,
    check_columns,
    check_documents,
    check_known,
    check_new,
    check_queries,
    distinct,
)
from saelex.vectors import SparseRows

_HEAD = f"{STATE}columns"


class Store(EngineCalls):
    """An engine's collection behind the protocol `VectorEngine`. Open it with `create` or `open`."""

    n_latents: int

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
            store.grow(n_latents)
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

    def grow(self, n_latents: int) -> None:
        """Have so many columns at least."""
        if n_latents > self.n_latents:
            self.columns(n_latents)

    def columns(self, n_latents: int) -> None:
        """Set the number of columns, which grows with the words. Raises InputError beyond what the engine takes."""
        check_columns(n_latents, self.limits)
        self.n_latents = n_latents
        self.put([Entry(_HEAD, text=str(n_latents))])

    # ---- the protocol of vectors ------------------------------------------------------------------------------------

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
        found = [self.nearest(Vector(*row), k, (), ()) for row in queries]
        return Hits(
            [[one.entry.id for one in each] for each in found],
            [np.array([one.score for one in each], np.float64) for each in found],
        )

    # ---- entries ----------------------------------------------------------------------------------------------------

    def nearest(self, query: Vector, k: int, tests: Sequence[Test] = (), fields: Sequence[str] = FIELDS) -> list[Found]:
        """The k entries with the largest dot products above zero that pass the tests, best first."""
        if not len(query.columns) or any(test.operator == "any" and not test.value for test in tests):
            return self._ask(list)  # nothing, of one that is open
        told = [test for test in tests if test.value not in ([],)]
        return [one for one in self._ask(lambda: list(self._nearest(query, k, told, fields))) if one.score > 0]
