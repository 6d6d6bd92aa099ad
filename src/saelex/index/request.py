"""What a search is asked for, read and refused before anything is loaded or encoded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, get_args

import numpy as np

from saelex.concepts.steering import Resolve, Steering
from saelex.encoder.words.languages import check_told
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
    language: str | None


@dataclass(frozen=True)
class Request:
    """A search's options, understood. condition: the filter as SQL with its parameters, None without one."""

    k: int
    mode: Mode
    steering: Steering
    condition: tuple[str, list[Any]] | None
    words: bool
    language: str | None

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
        language: str | None = None,
    ) -> Request:
        """resolve: the latents that a concept's name stands for. Raises InputError for what means nothing."""
        check_search(k, mode, language)
        for verb, names in (("boost", boost), ("ban", ban), ("add", add)):
            _check_names(verb, names)
        steering = Steering.parse(boost, ban, add, resolve)
        return cls(k, mode, steering, None if where is None or where == {} else condition(where), words, language)


def check_query(query: Any, i: int = 0) -> None:
    """Raises InputError unless the i-th query is a text with something in it."""
    if not isinstance(query, str):
        many = "; for several queries there is search_batch" if isinstance(query, (list, tuple, set, dict)) else ""
        raise InputError(f"query {i + 1} is a {type(query).__name__}, not a text{many}")
    if not query.strip():
        raise InputError(f"query {i + 1} is empty; give it a word at least")


def check_queries(queries: Any, verb: str) -> list[str]:
    """The queries of a sequence as a list. Raises InputError for a single text, and for what is no text in it."""
    if isinstance(queries, str):
        raise InputError(f"{verb} takes a list of queries, not one text; for one query there is search")
    if isinstance(queries, (bytes, Mapping)) or not isinstance(queries, Iterable):
        raise InputError(f"{verb} takes a list of queries, not a {type(queries).__name__}")
    return list(queries)


def searched_queries(queries: Any) -> list[str]:
    """The queries of a `search_batch`. Raises InputError as `check_queries` and `check_query` do."""
    texts = check_queries(queries, "search_batch")
    for i, query in enumerate(texts):
        check_query(query, i)
    return texts


def _check_names(verb: str, names: Any) -> None:
    example = "aviation" if verb == "ban" else "aviation=2"
    if isinstance(names, (bytes, Mapping)) or not isinstance(names, Iterable):
        raise InputError(f"{verb} takes concepts in a list, such as ['{example}'], not a {type(names).__name__}")
    if isinstance(names, (list, tuple, set, frozenset)):
        for name in names:
            if not isinstance(name, str):
                raise InputError(f"{verb}: a concept is named by a text, such as '{example}' or '4711', not {name!r}")


def check_search(k: int, mode: str, language: str | None = None) -> None:
    """Raises InputError for a number of hits below 1, and for an unknown mode or language of labels."""
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or k < 1:
        raise InputError(f"k is the number of hits wanted, at least 1, not {k!r}")
    if mode not in get_args(Mode):
        raise InputError(f"unknown search mode {mode!r}; choose one of {', '.join(get_args(Mode))}")
    if language is not None:
        check_told(language)
