"""The sources of training queries, by the kind that a recipe names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from saelex.errors import InputError
from saelex.training.examples.beir import open_beir
from saelex.training.examples.bge import open_bge
from saelex.training.examples.colbert import open_colbert
from saelex.training.examples.example import TrainingQuery
from saelex.training.examples.filtering import PassageFilter
from saelex.training.examples.hub import open_hub
from saelex.training.examples.jsonl import open_jsonl
from saelex.training.examples.parquet import open_parquet
from saelex.training.examples.texts import open_texts

if TYPE_CHECKING:
    from saelex.training.examples.settings import Source


@runtime_checkable
class SizedSource(Protocol):
    """Queries by number, from 0; all of them can be used."""

    @property
    def size(self) -> int: ...

    def __getitem__(self, index: int) -> TrainingQuery: ...

    def facts(self) -> dict[str, Any]: ...


class StreamedSource(Protocol):
    """Queries of which nobody knows how many there are."""

    def stream(self, seed: int, epoch: int) -> Iterator[TrainingQuery]:
        """All queries that can be used, in an order that depends on seed and epoch only."""
        ...

    def facts(self) -> dict[str, Any]: ...


OpenedSource: TypeAlias = SizedSource | StreamedSource


def open_source(source: Source, *, needs_scores: bool, progress: bool = False) -> OpenedSource:
    """Open a recipe's source.

    kind: beir (a folder in BEIR's layout, `negatives` mined for it), parquet (mined pairs with their texts), jsonl,
    colbert (ids in ColBERTv2's or plain triples), hub (Hugging Face datasets, streamed), bge (the layout of
    bge-multilingual-gemma2-data), texts (a title or a sentence asks for its text or the text's translations). Raises
    InputError for an unknown kind, and for what is missing or malformed.
    """
    if source.kind not in _OPENERS:
        raise InputError(f"{source.path}: unknown kind {source.kind!r}; one of {', '.join(_OPENERS)}")
    if not source.path:
        raise InputError("a source of training queries has no path; give data.sources[].path")
    passages = PassageFilter(source.exclude, needs_scores, source.labelled)
    return _OPENERS[source.kind](source, passages, progress=progress)


_OPENERS: dict[str, Callable[..., OpenedSource]] = {
    "beir": open_beir,
    "parquet": open_parquet,
    "jsonl": open_jsonl,
    "colbert": open_colbert,
    "hub": open_hub,
    "bge": open_bge,
    "texts": open_texts,
}
