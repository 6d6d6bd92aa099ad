"""Where in a text what fired lies: characters to mark, each with whose they are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from saelex.concepts.explanation import Explanation
from saelex.encoder.words.scripts import is_unspaced


class Mark(NamedTuple):
    """Characters [start, end) of a text at which something fired.

    rows: which of the rows that were asked about; of an explanation, indices in `Explanation.by_label`, those that
    contribute most first.
    """

    start: int
    end: int
    rows: tuple[int, ...]


def query_marks(explanation: Explanation) -> list[Mark]:
    """The places in the query at which labels fired."""
    rows = [(*row.query_words, *row.query_context) for row in explanation.by_label]
    return marks_of(explanation.query, rows)


def document_marks(text: str, explanation: Explanation, start: int = 0) -> list[Mark]:
    """The places in a text of the document, from a character on, at which labels fired."""
    rows = [(*row.document_words, *row.document_context) for row in explanation.by_label]
    return marks_of(text, rows, start)


def marks_of(text: str, rows: Iterable[Iterable[str]], start: int = 0) -> list[Mark]:
    """Every place of every row's words in a text, from a character on; in order, apart from each other.

    Words are found whole, in whatever case; where one lies in another, as in scripts without spaces, the longer is
    marked.
    """
    owners: dict[str, tuple[str, list[int]]] = {}  # by the word in lower case: as it is written, and whose it is
    for i, words in enumerate(rows):
        for word in words:
            if word.strip():
                of_word = owners.setdefault(word.lower(), (word, []))[1]
                if i not in of_word[-1:]:
                    of_word.append(i)
    if not owners:
        return []
    known = sorted(owners.values(), key=lambda owner: -len(owner[0]))
    pattern = re.compile("|".join(f"({_whole(word)})" for word, _ in known), re.IGNORECASE)
    return [
        Mark(*match.span(), tuple(known[match.lastindex - 1][1]))
        for match in pattern.finditer(text, start)
        if match.lastindex is not None
    ]


def _whole(word: str) -> str:
    """What matches a word between its borders, which scripts without spaces do not show."""
    return re.escape(word) if is_unspaced(word[0]) else rf"(?<!\w){re.escape(word)}(?!\w)"
