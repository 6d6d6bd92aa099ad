"""Why a document was found: what each latent and each word contributed, and where it fired on both sides."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saelex.concepts.steering import WORD_PREFIX, Steering
from saelex.encoder.words.analyser import MARKS, UNSPACED

_PIECE = re.compile(rf"(?:[^\W{UNSPACED}]|[{MARKS}'’])+")
REST = -1


@dataclass(frozen=True, eq=False)
class FiredText:
    """One text and its vector as the index holds it.

    text: what was encoded.
    latents: int [non-zeros], increasing; word dimensions follow the latents.
    weights: integers [non-zeros], the quantised weights.
    positions: int [non-zeros], the token at which each latent was strongest; -1 for words and where unknown.
    token_spans: characters [start, end) in the text of every token a position may name; (0, 0) for special tokens.
    word_spans: (dimension, start, end) of the words, dimensions numbered as in `latents`.
    """

    text: str
    latents: NDArray[Any]
    weights: NDArray[Any]
    positions: NDArray[Any] | None = None
    token_spans: Sequence[tuple[int, int]] = ()
    word_spans: Sequence[tuple[int, int, int]] = ()

    def words(self, entry: int) -> list[str]:
        """The whole words at which the entry's latent (or word dimension) fired, each once."""
        spans = list(self._spans_of_word.get(int(self.latents[entry]), ()))
        position = -1 if self.positions is None else int(self.positions[entry])
        if 0 <= position < len(self.token_spans):
            spans.append(self.token_spans[position])
        return list(dict.fromkeys(whole_word(self.text, start, end) for start, end in spans if start < end))

    @cached_property
    def _spans_of_word(self) -> dict[int, list[tuple[int, int]]]:
        spans: dict[int, list[tuple[int, int]]] = {}
        for dimension, start, end in self.word_spans:
            spans.setdefault(dimension, []).append((start, end))
        return spans


@dataclass(frozen=True)
class Contribution:
    """What one latent adds to a score: the product of its weights in query and document."""

    latent: int
    """The latent, or the word's dimension; -1 for the row that stands for the rest."""
    label: str
    contribution: float
    query_words: list[str] = field(default_factory=list)
    document_words: list[str] = field(default_factory=list)
    note: str = ""
    """What steering did to it: "boost x2", "added at 1.5"."""


@dataclass(frozen=True)
class Explanation:
    """All contributions to one hit's score, largest first; `math.fsum` of them is the score to the last bit."""

    query: str
    document_id: str
    score: float
    contributions: list[Contribution]
    banned: list[str] = field(default_factory=list)
    """Labels of the concepts that the user banned from the query."""

    def top(self, n: int = 5) -> list[Contribution]:
        """The n largest contributions and, where there are more, one row for the rest: they too sum to the score."""
        if len(self.contributions) <= n + 1:
            return list(self.contributions)
        rest = math.fsum([self.score, *(-row.contribution for row in self.contributions[:n])])
        row = Contribution(REST, f"… {len(self.contributions) - n} more", rest)
        return _closed([*self.contributions[:n], row], self.score)

    def to_json(self) -> list[dict[str, Any]]:
        """All contributions as JSON values; "note" only where there is one."""
        rows = [dataclasses.asdict(row) for row in self.contributions]
        return [{key: value for key, value in row.items() if key != "note" or value} for row in rows]

    def __str__(self) -> str:
        rows = self.top(10)
        width = max((len(row.label) for row in rows), default=0)
        lines = [f"{self.document_id}  {self.score:.3f}  for {self.query!r}"]
        for row in rows:
            fired = " → ".join(", ".join(words) for words in (row.query_words, row.document_words) if words)
            note = f"  [{row.note}]" if row.note else ""
            lines.append(f"{row.contribution:9.3f}  {row.label:<{width}}  {fired}{note}".rstrip())
        lines += [f"   banned  {label}" for label in self.banned]
        return "\n".join(lines)


def explain(
    query: FiredText,
    document: FiredText,
    *,
    document_id: str,
    scale: float,
    n_latents: int,
    label: Callable[[int], str],
    steering: Steering | None = None,
) -> Explanation:
    """Explain score = scale · Σ query weight · document weight, the integers that the index scored with.

    scale: what one unit of the integer product is worth: the query's scale times the index's.
    n_latents: columns from here on are words; their label is the word as the query has it, after "word:".
    label: the label of a latent or a word dimension.
    """
    steering = steering or Steering()
    _, left, right = np.intersect1d(query.latents, document.latents, assume_unique=True, return_indices=True)
    products = query.weights[left].astype(np.int64) * document.weights[right].astype(np.int64)
    score = int(products.sum()) * scale
    contributions = []
    notes = steering.notes
    for i in np.argsort(-products, kind="stable"):
        latent = int(query.latents[left[i]])
        query_words, document_words = query.words(left[i]), document.words(right[i])
        name = WORD_PREFIX + query_words[0].lower() if latent >= n_latents and query_words else label(latent)
        value = int(products[i]) * scale
        row = Contribution(latent, name, value, query_words, document_words, notes.get(latent, ""))
        contributions.append(row)
    banned = [label(latent) for latent in sorted(steering.ban)]
    return Explanation(query.text, document_id, score, _closed(contributions, score), banned)


def whole_word(text: str, start: int, end: int) -> str:
    """The characters [start, end), widened to the borders of the word they belong to.

    Scripts without spaces have no such borders: there, and for punctuation, the characters stay as they are.
    """
    # a token of a byte-level tokenizer carries the space before it
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end and _PIECE.fullmatch(text, start, end):
        while start > 0 and _PIECE.fullmatch(text, start - 1, start):
            start -= 1
        inside = _PIECE.match(text, start)
        end = inside.end() if inside else end
    return text[start:end].strip("'’") or text[start:end]


def _closed(rows: list[Contribution], score: float) -> list[Contribution]:
    """The rows with the rounding of integer · scale put right, so that `math.fsum` of them is the score.

    The last bits go into the largest row that can hold them: half a unit in the last place of the score needs a smaller
    number than the score.
    """
    gap = math.fsum([score, *(-row.contribution for row in rows)])
    if not gap:
        return rows
    for i, row in enumerate(rows):
        closed = [*rows[:i], dataclasses.replace(row, contribution=row.contribution + gap), *rows[i + 1 :]]
        if math.fsum(row.contribution for row in closed) == score:
            return closed
    return rows
