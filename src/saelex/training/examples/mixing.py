"""The examples that training reads: sources mixed by their weights, each query with a few of its negatives.

Item i of the stream is a function of the recipe's data, the seed and i alone: a run that stopped goes on with the very
next example, and every process of a distributed run knows all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from saelex.errors import InputError
from saelex.training.examples.example import Example, TrainingQuery
from saelex.training.examples.sources import OpenedSource, SizedSource, StreamedSource, open_source

if TYPE_CHECKING:
    from saelex.training.examples.settings import ExampleData

# Sources are drawn so many items at a time: where item i stands in its source is known after i / BLOCK counts.
_BLOCK = 4096
# First words of the seeds, so that no two uses of a seed share their random numbers.
_SOURCES, _ORDERS, _DRAWS = 0, 1, 2


def open_examples(data: ExampleData, *, seed: int, needs_scores: bool, progress: bool = False) -> MixedExamples:
    """Open all sources of a recipe.

    needs_scores: whether the loss needs a teacher's scores; `data.require_scores` decides where it is given.
    Raises InputError where a source is missing or malformed, or has no query that can be used.
    """
    if not data.sources:
        raise InputError("the recipe names no data; set data.sources")
    if data.require_scores is not None:
        needs_scores = data.require_scores
    for source in data.sources:
        if source.weight <= 0:
            raise InputError(f"{source.path}: the weight {source.weight} is not above 0; leave the source out")
    opened = [open_source(source, needs_scores=needs_scores, progress=progress) for source in data.sources]
    for source, found in zip(data.sources, opened, strict=True):
        if getattr(found, "size", None) == 0:
            raise nothing_usable(source.path, needs_scores and source.labelled)
    return MixedExamples(data, opened, seed=seed, needs_scores=needs_scores)


def nothing_usable(path: str, needs_scores: bool) -> InputError:
    """The error for a source none of whose queries can be used."""
    if needs_scores:
        return InputError(
            f"{path}: no query has a positive and a negative with a teacher's score; score it with `saelex score`, "
            "or train by loss.info_nce alone"
        )
    return InputError(
        f"{path}: no query has a positive passage; check its layout, its split and data.sources[].exclude"
    )


class MixedExamples:
    """An endless, deterministic stream of examples; see `open_examples`."""

    def __init__(self, data: ExampleData, sources: list[OpenedSource], *, seed: int, needs_scores: bool) -> None:
        weights = np.array([source.weight for source in data.sources], dtype=np.float64)
        self._data, self._sources, self._seed, self._needs_scores = data, sources, seed, needs_scores
        self._shares = weights / weights.sum()

    @property
    def size(self) -> int | None:
        """Queries of all sources; None where one of them streams."""
        sizes = [getattr(source, "size", None) for source in self._sources]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def stream(self, start: int = 0) -> Iterator[Example]:
        """Examples start, start + 1, ...: always the same ones, without end.

        Every query of a sized source comes once before any comes again; a streamed source is read up to `start` anew.
        Raises InputError where a streamed source turns out to have no query that can be used.
        """
        seen = self._counts(start)
        readers = [self._queries(number, int(position)) for number, position in enumerate(seen)]
        for item in count(start):
            source = self._source_of(item)
            query = next(readers[source])
            yield self._example(query, item) if self._data.sources[source].labelled else self._unlabelled(query, item)

    def facts(self) -> dict[str, Any]:
        """JSON values: negatives per query, whether scores are needed, and of each source what tells its content."""
        sources = [
            {
                "name": Path(source.path).name if Path(source.path).exists() else source.path,
                "kind": source.kind,
                "weight": source.weight,
                "queries": getattr(opened, "size", None),
                **({} if source.labelled else {"labelled": False}),
                **({"excluded": [Path(corpus).name for corpus in source.exclude]} if source.exclude else {}),
                **opened.facts(),
            }
            for source, opened in zip(self._data.sources, self._sources, strict=True)
        ]
        return {"negatives": self._data.negatives, "needs_scores": self._needs_scores, "sources": sources}

    # ---- which query ------------------------------------------------------------------------------------------------

    def _source_of(self, item: int) -> int:
        return int(self._block(item // _BLOCK)[item % _BLOCK])

    def _block(self, number: int) -> NDArray[np.int64]:
        """The sources of _BLOCK items [items]."""
        return _drawn_sources(self._seed, number, tuple(self._shares))

    def _counts(self, start: int) -> NDArray[np.int64]:
        """How many of the items before `start` come from each source [sources]."""
        blocks = [self._block(number) for number in range(start // _BLOCK)]
        blocks.append(self._block(start // _BLOCK)[: start % _BLOCK])
        return np.bincount(np.concatenate(blocks), minlength=len(self._sources))

    def _queries(self, number: int, position: int) -> Iterator[TrainingQuery]:
        """The queries of a source in training order, from the one at `position`."""
        source = self._sources[number]
        if isinstance(source, SizedSource):
            return self._sized_queries(source, number, position)
        return islice(self._streamed_queries(source, number), position, None)

    def _sized_queries(self, source: SizedSource, number: int, position: int) -> Iterator[TrainingQuery]:
        for epoch in count(position // source.size):
            order = np.random.default_rng([_ORDERS, self._seed, number, epoch]).permutation(source.size)
            for index in order[position % source.size :]:
                yield source[int(index)]
            position = 0

    def _streamed_queries(self, source: StreamedSource, number: int) -> Iterator[TrainingQuery]:
        for epoch in count():
            empty = True
            for query in source.stream(self._seed + number, epoch):
                empty = False
                yield query
            if empty:
                of = self._data.sources[number]
                raise nothing_usable(of.path, self._needs_scores and of.labelled)

    # ---- which passages ---------------------------------------------------------------------------------------------

    def _example(self, query: TrainingQuery, item: int) -> Example:
        random = np.random.default_rng([_DRAWS, self._seed, item])
        relevant = frozenset(passage.text for passage in query.positives)
        positives, negatives = query.positives, query.negatives
        if self._needs_scores:
            positives = tuple(passage for passage in positives if passage.score is not None)
            negatives = tuple(passage for passage in negatives if passage.score is not None)
        drawn = random.permutation(len(negatives))[: self._data.negatives]
        passages = [positives[random.integers(len(positives))], *(negatives[place] for place in drawn)]
        scores = tuple(passage.score for passage in passages if passage.score is not None)
        whole = len(scores) == len(passages)
        return Example(query.query, tuple(passage.text for passage in passages), scores if whole else None, relevant)

    def _unlabelled(self, query: TrainingQuery, item: int) -> Example:
        """As many passages as a labelled query has, of all kinds alike."""
        texts = [passage.text for passage in (*query.positives, *query.negatives)]
        order = np.random.default_rng([_DRAWS, self._seed, item]).permutation(len(texts))
        drawn = tuple(texts[place] for place in order[: 1 + self._data.negatives])
        return Example(query.query, drawn, None, frozenset(), labelled=False)


@lru_cache(maxsize=64)
def _drawn_sources(seed: int, block: int, shares: tuple[float, ...]) -> NDArray[np.int64]:
    random = np.random.default_rng([_SOURCES, seed, block])
    return random.choice(len(shares), size=_BLOCK, p=shares).astype(np.int64)
