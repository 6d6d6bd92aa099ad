"""One passage as every engine keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import numpy as np

from saelex.engines.facets import Facets
from saelex.engines.files.format import Vector

T = TypeVar("T")
FIELDS = ("digest", "document", "place", "start", "end", "title", "text", "metadata")
"""What an entry holds beside its id, its vector and what it is filtered by."""
STATE = "saelex:"
"""Ids of the records that say what a collection holds begin so; no search finds them, as their vectors are empty."""
_EMPTY = Vector(np.zeros(0, np.int32), np.zeros(0, np.float32))


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


def batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """The values in lists of so many."""
    rest = iter(values)
    while some := list(islice(rest, size)):
        yield some
