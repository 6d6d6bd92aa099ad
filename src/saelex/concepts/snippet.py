"""The part of a passage in which most of what matched lies, with its words marked: what a reader is shown of a hit."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from saelex.concepts.content import UNIT
from saelex.concepts.explanation import Explanation
from saelex.concepts.marks import Mark, document_marks
from saelex.encoder.words.scripts import UNSPACED

_WORD = 2  # what a word costs; a letter of a script without spaces, half a word, costs 1
_LONG = 12  # characters; of a longer word every such part begun counts as one
_LONGEST = 32  # characters; a longer one is cut
_PIECE = re.compile(rf"{UNIT.pattern}|[^\s{UNSPACED}]+")
_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True)
class Snippet:
    """A part of a text, to be shown.

    text: blanks within made one, with "… " before and " …" after it where the text goes on.
    marks: characters of `text` that matched, in order, apart from each other, with the labels that they matched for.
    start, end: characters of the whole text that it was cut from.
    """

    text: str
    marks: tuple[Mark, ...]
    start: int
    end: int

    def __str__(self) -> str:
        return self.text

    def parts(self) -> Iterator[tuple[str, bool]]:
        """The text in pieces, each with whether it is marked: for whoever highlights."""
        at = 0
        for start, end, _ in self.marks:
            if at < start:
                yield self.text[at:start], False
            yield self.text[start:end], True
            at = end
        if at < len(self.text):
            yield self.text[at:], False


def cut_snippet(text: str, explanation: Explanation, words: int, start: int = 0) -> Snippet:
    """About so many words of a text from where most of what matched lies: the labels that sum up to the most.

    start: the characters before it are not shown. Two letters of scripts without spaces count as a word, and so does
    every begun dozen of characters of a long one. Of windows with the same share of the score the one with the most
    matches is taken, then the first; where nothing fired that is known, the text's beginning.
    """
    pieces = list(_pieces(text, start))
    if not pieces:
        return Snippet("", (), start, start)
    marks = document_marks(text, explanation, start)
    weights = [max(0.0, row.contribution) for row in explanation.by_label]
    first, last = _widened(pieces, *_best(pieces, marks, weights, _WORD * words), _WORD * words)
    begin, end = pieces[first].start, pieces[last].end
    before, after = "… " if first else "", " …" if last + 1 < len(pieces) else ""
    shown, at = before, begin
    places: list[Mark] = []
    for mark in marks:
        left, right = max(mark.start, begin), min(mark.end, end)
        if left >= right:
            continue
        shown += _BLANKS.sub(" ", text[at:left])
        places.append(Mark(len(shown), len(shown) + right - left, mark.rows))
        shown += text[left:right]
        at = right
    return Snippet(shown + _BLANKS.sub(" ", text[at:end]) + after, tuple(places), begin, end)


class _Piece(NamedTuple):
    """What a text may be cut between: a word, or a letter of a script without spaces."""

    start: int
    end: int
    cost: int


def _pieces(text: str, start: int) -> Iterator[_Piece]:
    for match in _PIECE.finditer(text, start):
        if match["letter"] is not None:
            yield _Piece(*match.span(), 1)
            continue
        for left in range(match.start(), match.end(), _LONGEST):
            right = min(left + _LONGEST, match.end())
            yield _Piece(left, right, _WORD * (1 + (right - left - 1) // _LONG))


def _best(pieces: Sequence[_Piece], marks: Sequence[Mark], weights: Sequence[float], budget: int) -> tuple[int, int]:
    """First and last piece of the neighbouring marks that weigh most and fit; the first piece where nothing matched.

    weights: of the rows that marks are of; one that is in sight counts once.
    """
    before = list(accumulate((piece.cost for piece in pieces), initial=0))
    starts = [piece.start for piece in pieces]
    places = [(bisect_right(starts, mark.start) - 1, bisect_right(starts, mark.end - 1) - 1) for mark in marks]
    best, chosen = (0.0, 0), (0, 0)
    end = 0  # of the marks in sight
    for begin, (first, last) in enumerate(places):
        end = max(end, begin + 1)
        while end < len(marks) and before[places[end][1] + 1] - before[first] <= budget:
            end += 1
        rows = {row for mark in marks[begin:end] for row in mark.rows}
        value = (math.fsum(weights[row] for row in rows), end - begin)
        if value > best:
            best, chosen = value, (first, max(last, places[end - 1][1]))
    return chosen


def _widened(pieces: Sequence[_Piece], first: int, last: int, budget: int) -> tuple[int, int]:
    """The same with what is before and after it, half of what is left each where there is so much."""
    budget -= sum(piece.cost for piece in pieces[first : last + 1])
    lead = budget // 2
    while first and pieces[first - 1].cost <= lead:
        first -= 1
        lead -= pieces[first].cost
        budget -= pieces[first].cost
    while last + 1 < len(pieces) and pieces[last + 1].cost <= budget:
        last += 1
        budget -= pieces[last].cost
    while first and pieces[first - 1].cost <= budget:
        first -= 1
        budget -= pieces[first].cost
    return first, last
