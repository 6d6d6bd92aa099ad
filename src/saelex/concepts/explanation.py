"""Why a document was found: what each latent and each word contributed, and where it fired on both sides."""

from __future__ import annotations

import dataclasses
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.concepts.concept import WORD_PREFIX
from saelex.concepts.content import words_in
from saelex.concepts.steering import Steering
from saelex.encoder.words.analyser import MARKS
from saelex.encoder.words.scripts import UNSPACED, is_unspaced

_NO_WIDTH = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
_PIECE = re.compile(rf"(?:[^\W{UNSPACED}]|[{MARKS}'’])+")
REST = -1
_ALWAYS = {"latent", "label", "contribution", "query_words", "document_words"}  # in a contribution's JSON


class FiredWords(NamedTuple):
    """Where one latent fired in a text.

    words: the whole content words, each once. context: where it fired at a function word, a sign or a special token,
    which tell nobody anything, the strongest content word of the text.
    """

    words: list[str]
    context: list[str]


@dataclass(frozen=True, eq=False)
class FiredText:
    """One text and its vector as the index holds it.

    text: what was encoded.
    latents: int [non-zeros], increasing; word dimensions follow the latents.
    weights: integers [non-zeros], the quantised weights.
    positions: int [non-zeros], the token at which each latent was strongest; -1 for words and where unknown.
    token_spans: characters [start, end) in the text of every token a position may name; (0, 0) for special tokens.
    word_spans: (dimension, start, end) of the words, dimensions numbered as in `latents`.
    is_content: whether a word says what a text is about (see `saelex.concepts.content`).
    """

    text: str
    latents: NDArray[Any]
    weights: NDArray[Any]
    positions: NDArray[Any] | None = None
    token_spans: Sequence[tuple[int, int]] = ()
    word_spans: Sequence[tuple[int, int, int]] = ()
    is_content: Callable[[str], bool] = bool

    def fired(self, entry: int) -> FiredWords:
        """Where the entry's latent (or word dimension) fired."""
        if exact := self._spans_of_word.get(int(self.latents[entry])):
            return FiredWords(list(dict.fromkeys(whole_word(self.text, start, end) for start, end in exact)), [])
        word = self._word_of(entry)
        if word is None:
            return FiredWords([], [])
        return FiredWords([word], []) if self.is_content(word) else FiredWords([], self._strongest_word)

    def _word_of(self, entry: int) -> str | None:
        """The whole word at the entry's token: "" for a special token, None where the token is not known."""
        position = -1 if self.positions is None else int(self.positions[entry])
        if not 0 <= position < len(self.token_spans):
            return None
        if (word := self._known.get(position)) is None:
            word = self._known[position] = self._word_at(position)
        return word

    @cached_property
    def _known(self) -> dict[int, str]:
        """Token -> its whole word, of those asked for: many latents fire at one token."""
        return {}

    def _word_at(self, position: int) -> str:
        start, end = _without_blanks(self.text, *self.token_spans[position])
        if start < end and is_unspaced(self.text[start]):
            start, end = self._words[bisect_right(self._words, start, key=lambda word: word[0]) - 1]
        return whole_word(self.text, start, end)

    @cached_property
    def _words(self) -> list[tuple[int, int]]:
        return words_in(self.text, self.token_spans)

    @cached_property
    def _strongest_word(self) -> list[str]:
        """The content word at which latents fired with the most weight in all; none where there is no such word."""
        weights: dict[str, float] = {}
        for entry, weight in enumerate(self.weights.tolist()):
            if word := self._word_of(entry):
                weights[word] = weights.get(word, 0) + weight
        content = [word for word in weights if self.is_content(word)]
        return [max(content, key=weights.__getitem__)] if content else []

    @cached_property
    def _spans_of_word(self) -> dict[int, list[tuple[int, int]]]:
        spans: dict[int, list[tuple[int, int]]] = {}
        for dimension, start, end in self.word_spans:
            spans.setdefault(dimension, []).append((start, end))
        return spans


@dataclass(frozen=True)
class Contribution:
    """What one latent adds to a score, the product of its weights in query and document; or all latents of one label.

    The query's and document's words are those at which it fired; the context is the strongest content word of the text
    where it fired at a function word or a sign.
    """

    latent: int
    """The latent, or the word's dimension; of several with one label the heaviest; -1 for the rest's row."""
    label: str
    contribution: float
    query_words: list[str] = field(default_factory=list)
    document_words: list[str] = field(default_factory=list)
    note: str = ""
    """What steering did to it: "boost x2", "added at 1.5"."""
    query_context: list[str] = field(default_factory=list)
    document_context: list[str] = field(default_factory=list)
    latents: tuple[int, ...] = ()
    """All latents of the label, heaviest first, where the row stands for several."""

    @property
    def numbered_label(self) -> str:
        """The label with the ids of its latents, "wing #4711 #815"; a word, the rest, and "latent 4711" as they are."""
        if self.latent < 0 or self.label.startswith(WORD_PREFIX) or self.label == f"latent {self.latent}":
            return self.label
        return self.label + "".join(f" #{latent}" for latent in self.latents or (self.latent,))

    @property
    def fired_query(self) -> str:
        """Where it fired in the query, to be read: "wing, near drag"; "" where that is not known."""
        return _shown(self.query_words, self.query_context)

    @property
    def fired_document(self) -> str:
        """Where it fired in the document, as `fired_query`."""
        return _shown(self.document_words, self.document_context)

    @property
    def fired(self) -> str:
        """Both: "lift → wing, near drag"."""
        return " → ".join(filter(None, (self.fired_query, self.fired_document)))


@dataclass(frozen=True)
class Explanation:
    """All contributions to one hit's score, largest first; `math.fsum` of them is the score to the last bit."""

    query: str
    document_id: str
    score: float
    contributions: list[Contribution]
    banned: list[str] = field(default_factory=list)
    """Labels of the concepts that the user banned from the query."""

    @cached_property
    def by_label(self) -> list[Contribution]:
        """The contributions, those of equal label as one row, largest first; they sum to the score as well."""
        groups: dict[str, list[Contribution]] = {}
        for row in self.contributions:
            groups.setdefault(row.label, []).append(row)
        rows = sorted(map(_as_one, groups.values()), key=lambda row: -row.contribution)
        return _closed(rows, self.score)

    def top(self, n: int = 5) -> list[Contribution]:
        """The n labels that contribute most and, where there are more, one row that names the share of the rest.

        These rows too sum to the score.
        """
        rows = self.by_label
        if len(rows) <= n + 1:
            return list(rows)
        rest = math.fsum([self.score, *(-row.contribution for row in rows[:n])])
        share = f", {rest / self.score:.0%} of the score" if self.score > 0 else ""
        row = Contribution(REST, f"… {len(rows) - n} more{share}", rest)
        return _closed([*rows[:n], row], self.score)

    def to_json(self) -> list[dict[str, Any]]:
        """All contributions, latent by latent, as JSON values; "note" and contexts only where there are some."""
        rows = [dataclasses.asdict(row) for row in self.contributions]
        return [{key: value for key, value in row.items() if value or key in _ALWAYS} for row in rows]

    def __str__(self) -> str:
        rows = self.top(10)
        width = max((len(row.label) for row in rows), default=0)
        lines = [f"{self.document_id}  {self.score:.3f}  for {self.query!r}"]
        for row in rows:
            note = f"  [{row.note}]" if row.note else ""
            lines.append(f"{row.contribution:9.3f}  {row.label:<{width}}  {row.fired}{note}".rstrip())
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
        asked, answered = query.fired(left[i]), document.fired(right[i])
        name = WORD_PREFIX + asked.words[0].lower() if latent >= n_latents and asked.words else label(latent)
        contributions.append(
            Contribution(
                latent,
                name,
                int(products[i]) * scale,
                asked.words,
                answered.words,
                notes.get(latent, ""),
                asked.context,
                answered.context,
            )
        )
    banned = [label(latent) for latent in sorted(steering.ban)]
    return Explanation(query.text, document_id, score, _closed(contributions, score), banned)


def _shown(words: Sequence[str], context: Sequence[str]) -> str:
    return ", ".join([*words, *(f"near {word}" for word in context)])


def _as_one(rows: list[Contribution]) -> Contribution:
    """Rows of one label, heaviest first, as one row."""
    if len(rows) == 1:
        return rows[0]

    def union(name: str) -> list[str]:
        return list(dict.fromkeys(word for row in rows for word in getattr(row, name)))

    return Contribution(
        rows[0].latent,
        rows[0].label,
        math.fsum(row.contribution for row in rows),
        union("query_words"),
        union("document_words"),
        ", ".join(dict.fromkeys(row.note for row in rows if row.note)),
        union("query_context"),
        union("document_context"),
        tuple(row.latent for row in rows),
    )


def whole_word(text: str, start: int, end: int) -> str:
    """The characters [start, end), widened to the borders of the word they belong to.

    Scripts without spaces have no such borders: there (see `words_in`), and for punctuation, the characters stay as
    they are.
    """
    start, end = _without_blanks(text, start, end)
    if start < end and _PIECE.fullmatch(text, start, end):
        while start > 0 and _PIECE.fullmatch(text, start - 1, start):
            start -= 1
        inside = _PIECE.match(text, start)
        end = inside.end() if inside else end
    return text[start:end].strip("'’") or text[start:end]


def _without_blanks(text: str, start: int, end: int) -> tuple[int, int]:
    """The characters [start, end) without blanks around them: a token may carry those before it."""

    def blank(character: str) -> bool:
        return character.isspace() or character in _NO_WIDTH

    while start < end and blank(text[start]):
        start += 1
    while end > start and blank(text[end - 1]):
        end -= 1
    return start, end


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
