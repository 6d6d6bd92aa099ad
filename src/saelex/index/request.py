"""What a search is asked for, read and refused before anything is loaded or encoded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, get_args

from saelex.concepts.steering import Resolve, Steering
from saelex.errors import InputError
from saelex.index.filters import Where, condition

Mode = Literal["exact", "capped", "two_step"]


class SearchOptions(TypedDict, total=False):
    """What every search of an `Index` takes beside queries and k; `Index.search` explains each."""

    mode: Mode
    boost: Iterable[str]
    ban: Iterable[str]
    add: Iterable[str]
    where: Where | None
    words: bool


@dataclass(frozen=True)
class Request:
    """A search's options, understood. condition: the filter as SQL with its parameters, None without one."""

    k: int
    mode: Mode
    steering: Steering
    condition: tuple[str, list[Any]] | None
    words: bool

    @classmethod
    def read(
        cls,
        k: int,
        resolve: Resolve,
        mode: Mode = "exact",
        boost: Iterable[str] = (),
        ban: Iterable[str] = (),
        add: Iterable[str] = (),
        where: Where | None = None,
        words: bool = True,
    ) -> Request:
        """resolve: the latents that a concept's name stands for. Raises InputError for what means nothing."""
        check_search(k, mode)
        steering = Steering.parse(boost, ban, add, resolve)
        return cls(k, mode, steering, condition(where) if where else None, words)


def check_search(k: int, mode: str) -> None:
    """Raises InputError for a number of hits below 1 and for an unknown mode."""
    if k < 1:
        raise InputError(f"k is the number of hits wanted, at least 1, not {k}")
    if mode not in get_args(Mode):
        raise InputError(f"unknown search mode {mode!r}; choose one of {', '.join(get_args(Mode))}")
