"""What a loss and a regulariser have in common: a file, a name, settings, perhaps a memory."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, ClassVar, TypeVar


@dataclass
class Term:
    """A term of what a step minimises: a dataclass in a file of its own, found by lying in its room.

    Its fields are settings of the recipe's section, with defaults; the string under each is its help. What several
    rows or ranks hold together is summed by `ranks`, so that a term is the same number on each rank.
    """

    name: ClassVar[str]
    """In recipes, logs and checkpoints."""
    title: ClassVar[str]
    """For people."""

    def __str__(self) -> str:
        return self.title

    def begin(self, n_latents: int) -> None:
        """Once, before the first step: make what is kept from step to step."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, JSON values and tensors; empty for a term without memory."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From `state_dict` of a term with the same settings that has begun."""


Kind = TypeVar("Kind", bound=Term)


def terms_in(room: str, paths: Iterable[str], kind: type[Kind]) -> tuple[type[Kind], ...]:
    """The terms of a kind that the files of a package define, by the files' names."""
    modules = [import_module(f"{room}.{found.name}") for found in iter_modules(paths)]
    classes = (one for module in modules for _, one in inspect.getmembers(module, inspect.isclass))
    return tuple(dict.fromkeys(one for one in classes if issubclass(one, kind) and one is not kind))
