"""From examples to tensors: texts of like length padded together, and who belongs to whom."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from saelex.encoder.batching import PaddedBatch, pad, token_budget_batches
from saelex.encoder.settings import Side
from saelex.encoder.tokens import TextTokenizer
from saelex.errors import InputError
from saelex.training.examples.example import Example
from saelex.training.retrieval.dense_teachers import DenseTeacher, Embedded
from saelex.training.retrieval.words import WordScores

PADDED_TOKENS = 4096
"""Tokens that are padded together: enough for a matrix product, few enough that short texts meet short ones."""


class Texts(NamedTuple):
    """Texts of one side: padded in parts of like length, and how to put their rows back in order."""

    parts: tuple[PaddedBatch, ...]
    places: Tensor  # int64 [texts]: row of text i among the parts' rows

    def to(self, device: torch.device) -> Texts:
        """On a device."""
        parts = tuple(PaddedBatch(*(tensor.to(device) for tensor in part)) for part in self.parts)
        return Texts(parts, self.places.to(device))


class Chunk(NamedTuple):
    """Some of a batch's queries with all their passages: what one forward pass reads."""

    queries: Texts
    passages: Texts


class RetrievalBatch(NamedTuple):
    """One process' share of an optimiser step: `queries` queries, `passages` passages, at most `most` per query.

    chunks: in order; their rows one after the other are those of the tensors below.
    columns: int64 [queries, most], a query's passages as rows of all passages, its positive first; 0 is no passage.
    mask: bool [queries, most], whether there is one.
    teacher: float32 [queries, most], or None.
    keys: int64 [passages], equal for equal texts.
    relevant: int64 [queries, most relevant], keys of the texts that are no negatives of the query; 0 fills up.
    words: float32 [queries, passages], BM25 over words; or None.
    labelled: bool [queries], whether positive, teacher and relevant mean something.
    embedded: by dense teachers; none where no loss reads them.
    """

    chunks: tuple[Chunk, ...]
    columns: Tensor
    mask: Tensor
    teacher: Tensor | None
    keys: Tensor
    relevant: Tensor
    words: Tensor | None
    labelled: Tensor
    embedded: tuple[Embedded, ...] = ()

    def to(self, device: torch.device) -> RetrievalBatch:
        """On a device."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in self._asdict().items() if isinstance(value, Tensor)
        }
        chunks = tuple(Chunk(chunk.queries.to(device), chunk.passages.to(device)) for chunk in self.chunks)
        return self._replace(chunks=chunks, embedded=tuple(one.to(device) for one in self.embedded), **moved)


class Collator:
    """Examples to a RetrievalBatch.

    tokenizer: with the encoder's prompts and lengths. n_chunks: forward passes that the batch is computed in.
    needs_scores: whether the loss reads the teacher; words: BM25 of words, where the loss adds it; teachers: dense
    ones, whose embeddings of all these texts are there, where the loss reads them.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        pad_id: int,
        *,
        n_chunks: int,
        needs_scores: bool,
        words: WordScores | None,
        teachers: Sequence[DenseTeacher] = (),
    ) -> None:
        self.tokenizer = tokenizer
        self.pad_id = pad_id
        self.n_chunks = n_chunks
        self.needs_scores = needs_scores
        self.words = words
        self.teachers = teachers

    def __call__(self, examples: Sequence[Example]) -> RetrievalBatch:
        """Raises InputError where a teacher's score is wanted and missing."""
        counts = [len(example.passages) for example in examples]
        mask = torch.arange(max(counts)) < torch.tensor(counts)[:, None]  # [queries, most]
        columns = torch.zeros(mask.shape, dtype=torch.int64)
        columns[mask] = torch.arange(sum(counts))
        queries = [example.query for example in examples]
        passages = [passage for example in examples for passage in example.passages]
        relevant = [[text_key(text) for text in sorted(example.relevant)] for example in examples]
        return RetrievalBatch(
            tuple(self._chunk(part) for part in _split(examples, self.n_chunks)),
            columns,
            mask,
            self._teacher(examples, mask),
            torch.tensor([text_key(passage) for passage in passages]),
            _fill(relevant),
            None if self.words is None else self.words(queries, passages),
            torch.tensor([example.labelled for example in examples]),
            tuple(teacher.embedded(queries, passages) for teacher in self.teachers),
        )

    def _chunk(self, examples: Sequence[Example]) -> Chunk:
        queries = self._texts([example.query for example in examples], "query")
        return Chunk(queries, self._texts([text for example in examples for text in example.passages], "document"))

    def _texts(self, texts: list[str], side: Side) -> Texts:
        tokenized = self.tokenizer.tokenize(texts, side)
        # a blank text has no tokens, but keeps its row
        lengths = [max(1, len(text.ids)) for text in tokenized]
        order = list(token_budget_batches(lengths, PADDED_TOKENS))
        parts = tuple(pad([tokenized[i] for i in some], self.pad_id) for some in order)
        return Texts(parts, torch.from_numpy(np.argsort(np.concatenate(order))))

    def _teacher(self, examples: Sequence[Example], mask: Tensor) -> Tensor | None:
        if not self.needs_scores:
            return None
        teacher = torch.zeros(mask.shape)  # [queries, most]
        for row, example in zip(teacher, examples):
            if not example.labelled:
                continue
            if example.scores is None:
                raise InputError(
                    f"the loss needs a teacher's scores and the query {example.query[:60]!r} has none; "
                    "make them with `saelex score`, or train by loss.info_nce alone"
                )
            row[: len(example.scores)] = torch.tensor(example.scores)
        return teacher


def text_key(text: str) -> int:
    """A number that equal texts share, never 0; the same in every process."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little", signed=True) or 1


def _split(examples: Sequence[Example], n_chunks: int) -> list[Sequence[Example]]:
    """Consecutive parts whose sizes differ by one at most; fewer where there are not enough examples."""
    bounds = np.linspace(0, len(examples), min(n_chunks, len(examples)) + 1).astype(int)
    return [examples[start:stop] for start, stop in pairwise(bounds)]


def _fill(rows: list[list[int]]) -> Tensor:
    filled = torch.zeros(len(rows), max(1, *(len(row) for row in rows)), dtype=torch.int64)
    for target, row in zip(filled, rows):
        target[: len(row)] = torch.tensor(row, dtype=torch.int64)
    return filled
