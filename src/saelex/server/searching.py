"""Searches of concurrent requests: those with the same options go through the index together."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from saelex.index.hits import Hit
from saelex.index.index import Index
from saelex.index.request import SearchOptions
from saelex.vectors import SparseRows


@dataclass(frozen=True)
class Wanted:
    """One query. row: [1, latents], or with columns of words after them. text: what the row is of; "" where unknown."""

    row: SparseRows
    text: str
    k: int
    options: SearchOptions

    @cached_property
    def kind(self) -> tuple[Any, ...]:
        """Equal for queries that can be searched together."""
        options = json.dumps(self.options, sort_keys=True)
        return self.k, self.row.n_latents, self.row.positions is None, options


def search_together(index: Index, wanted: Sequence[Wanted]) -> list[list[Hit] | Exception]:
    """The hits of every query; what cannot be searched gets its error."""
    kinds: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
    for i, one in enumerate(wanted):
        kinds[one.kind].append(i)
    found: dict[int, list[Hit] | Exception] = {}
    for same in kinds.values():
        first = wanted[same[0]]
        rows = SparseRows.concatenate([wanted[i].row for i in same])
        try:
            hits = index.search_vectors(rows, first.k, texts=[wanted[i].text for i in same], **first.options)
        except Exception as error:
            found.update((i, error) for i in same)
        else:
            found.update(zip(same, hits))
    return [found[i] for i in range(len(wanted))]
