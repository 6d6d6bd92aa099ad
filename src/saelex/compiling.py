"""Compiled functions; their machine code is kept for the next process where anything can be written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba


def njit(*signatures: Any, **options: Any) -> Any:
    """`numba.njit` that releases the GIL and caches what it compiled, so that a new process loads it.

    signatures: compiled at once, and no others later; without any, each when it is first called. Where neither the
    package's folder nor the user's cache can be written, or the disk is full, every process compiles anew: some seconds
    at its start. A cache that cannot be read is passed over likewise.
    """

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
