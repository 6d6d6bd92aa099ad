"""What a file for another engine is: the small protocol that every format fulfils, and the writing of it.

A module of this package that declares `FORMATS`, a tuple of formats, has thereby added them.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from saelex.corpus.documents import Document, Query
from saelex.engines import files
from saelex.errors import InputError
from saelex.files import write_text
from saelex.recipe import build_recipe

Entry = TypeVar("Entry")


class Vector(NamedTuple):
    """One sparse vector: columns ascending, weights positive."""

    columns: NDArray[np.int32]  # [non-zeros]
    weights: NDArray[np.float32]  # [non-zeros]

    @classmethod
    def of(cls, columns: Sequence[int], weights: Sequence[float]) -> Vector:
        """From lists in any order of columns; a weight of 0 is left out."""
        places, values = np.array(columns, np.int32), np.array(weights, np.float32)
        order = np.argsort(places, kind="stable")
        order = order[values[order] != 0]
        return cls(places[order], values[order])

    def numbers(self) -> list[float]:
        """The weights as Python floats that print with the fewest digits that give the same float32 back."""
        return [float(str(weight)) for weight in self.weights]

    def by_place(self) -> dict[str, list[Any]]:
        """`{"indices", "values"}`."""
        return {"indices": self.columns.tolist(), "values": self.numbers()}

    def by_name(self) -> dict[str, float]:
        """`{"column": weight}`."""
        return dict(zip(map(str, self.columns.tolist()), self.numbers()))


@dataclass(frozen=True)
class Summary:
    """What is known of the vectors before the first one is written.

    n_columns: number of columns, latents and words together. heaviest: the largest weight of a document.
    heaviest_query: that of a query, 0 where no queries are exported.
    """

    n_columns: int
    heaviest: float
    heaviest_query: float = 0.0


class Format(Protocol):
    """How one engine takes documents and queries. Methods raise InputError for what the engine would refuse.

    A dataclass: its fields are the settings that a user may choose, the docstrings under them the help.
    """

    name: ClassVar[str]
    """What the command line calls it."""

    @property
    def limits(self) -> str:
        """One line for the user, shown before anything is written: caps, and what the engine does to weights."""

    def settings(self, summary: Summary) -> dict[str, Any]:
        """What the engine has to be created and asked with. Raises InputError when the vectors break its caps."""

    def document(self, document: Document, vector: Vector, summary: Summary) -> str:
        """The document's line, or lines, without the last line break."""

    def query(self, query: Query, vector: Vector, summary: Summary) -> str:
        """The query's line, without the line break."""


def formats() -> dict[str, type[Format]]:
    """Every format by its name, in the order of the modules' names."""
    modules = [import_module(f"{files.__name__}.{module.name}") for module in pkgutil.iter_modules(files.__path__)]
    return {form.name: form for module in modules for form in getattr(module, "FORMATS", ())}


def make_format(name: str, settings: Sequence[str] = ()) -> Format:
    """The format of a name. settings: "setting=value" each. Raises InputError for an unknown name or setting."""
    known = formats()
    if name not in known:
        raise InputError(f"unknown format {name!r}; choose one of {', '.join(known)}")
    return build_recipe(known[name], {}, settings)


class Written(NamedTuple):
    """How many vectors a file holds, and how many empty ones it leaves out: they can match nothing."""

    written: int
    empty: int


def write_documents(path: Path, form: Format, entries: Iterable[tuple[Document, Vector]], summary: Summary) -> Written:
    """Write the documents' file, whole or not at all. Raises InputError for a document that the engine would refuse."""
    filled = _Filled(entries)
    return _write(path, (form.document(document, vector, summary) for document, vector in filled), filled)


def write_queries(path: Path, form: Format, entries: Iterable[tuple[Query, Vector]], summary: Summary) -> Written:
    """Write the queries' file, likewise."""
    filled = _Filled(entries)
    return _write(path, (form.query(query, vector, summary) for query, vector in filled), filled)


def check_id(name: str, limit: int, engine: str) -> None:
    """Raises InputError for an id of more than `limit` bytes."""
    if len(name.encode()) > limit:
        raise InputError(f"the id {name[:40]!r}... has {len(name.encode())} bytes; {engine} takes at most {limit}")


class _Filled(Generic[Entry]):
    """The entries whose vector is not empty; counts both kinds."""

    def __init__(self, entries: Iterable[tuple[Entry, Vector]]) -> None:
        self.entries = entries
        self.written = 0
        self.empty = 0

    def __iter__(self) -> Iterator[tuple[Entry, Vector]]:
        for entry, vector in self.entries:
            if len(vector.columns):
                self.written += 1
                yield entry, vector
            else:
                self.empty += 1


def _write(path: Path, lines: Iterable[str], counted: _Filled[Any]) -> Written:
    write_text(path, (line + "\n" for line in lines))
    return Written(counted.written, counted.empty)
