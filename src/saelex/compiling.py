"""Compiled functions; their machine code is kept for the next process where anything can be written.

Importing numba and loading what it compiled takes a second, longer than a whole search in plain numpy. So what a query
needs is there twice, with equal results: `loops` gives the plain functions until a process has spent about as long in
them as numba would take, and the compiled ones from then on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import ModuleType
from typing import Any

_PATIENCE = 1.0
"""Seconds in plain functions after which numba is imported."""
_spent = 0.0


def njit(*signatures: Any, **options: Any) -> Any:
    """`numba.njit` that releases the GIL and caches what it compiled, so that a new process loads it.

    signatures: compiled at once, and no others later; without any, each when it is first called. Where neither the
    package's folder nor the user's cache can be written, or the disk is full, every process compiles anew: some seconds
    at its start. A cache that cannot be read is passed over likewise.
    """

    import numba

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher: Any = numba.njit(nogil=True, **options)(function)
        if dispatcher is function:  # NUMBA_DISABLE_JIT
            return function
        with suppress(RuntimeError):  # numba finds no place for a cache
            dispatcher.enable_caching()
            dispatcher._cache = _Cache(dispatcher._cache)
        for signature in signatures:
            dispatcher.compile(signature)
        if signatures:
            dispatcher.disable_compile()
        return dispatcher

    return decorate


def is_due(*, much: bool = False) -> bool:
    """Whether the next loop is for compiled code: numba is imported already, or plain code has taken its time.

    much: of work, for which it is due in any case.
    """
    return much or "numba" in sys.modules or _spent > _PATIENCE


def loops(plain: ModuleType, compiled: str, *, much: bool = False) -> ModuleType:
    """The module of plain functions, or the one of this name with the same functions compiled; see `is_due`."""
    return import_module(compiled) if is_due(much=much) else plain


@contextmanager
def counted() -> Iterator[None]:
    """Around what may be plain code: the time that it takes counts."""
    global _spent
    start = time.perf_counter()
    try:
        yield
    finally:
        _spent += time.perf_counter() - start


class _Cache:
    """numba's cache of one function, without its errors: what cannot be loaded is compiled, and saved if possible."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, *arguments: Any) -> Any:
        with suppress(Exception):  # whatever unpickling a damaged file raises
            return self._cache.load_overload(*arguments)
        return None

    def save_overload(self, *arguments: Any) -> None:
        with suppress(OSError):
            self._cache.save_overload(*arguments)
