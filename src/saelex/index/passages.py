"""Long documents are searched by passage: windows of tokens that overlap and, where they can, begin with a sentence."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

from saelex.errors import InputError
from saelex.index.text_encoder import TextEncoder

TokenSpans = Callable[[str], "list[tuple[int, int]]"]
"""Character span in a text of each of its tokens, in order, special tokens left out."""

# the white space after a sentence's end, or an empty line
_BORDER = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])|\n\s*\n")


class Passage(NamedTuple):
    """A part of a text, as characters start..end."""

    start: int
    end: int


Splitter = Callable[[str], "list[Passage]"]

_LONGEST = 512  # tokens; longer passages say too many things for one vector


def split_passages(text: str, token_spans: TokenSpans, budget: int, overlap: int) -> list[Passage]:
    """The passages of a text, each of at most `budget` tokens; a text that fits is one passage.

    overlap: how many tokens, about, the next passage repeats, so that what stands at a border is found whole in one of
    the two. Passages end and begin at sentence borders where there is one in the last third of the budget and within
    twice the overlap, else between two words, else between two tokens. Together they cover every token of the text.

    Raises InputError when the overlap is not smaller than half of the budget.
    """
    if budget < 1 or not 0 <= overlap * 2 <= budget:
        raise InputError(f"passages of {budget} tokens cannot overlap by {overlap}; give at most half of the budget")
    if len(text.encode()) <= budget:  # no token is shorter than a byte
        return [Passage(0, len(text))]
    spans = [span for span in token_spans(text) if span[1] > span[0]]
    if len(spans) <= budget:
        return [Passage(0, len(text))]
    starts = [start for start, _ in spans]
    # tokens with which a sentence, or at least a word, begins
    sentences = sorted({bisect_left(starts, match.end()) for match in _BORDER.finditer(text)})
    # (byte-level tokens begin with the space before a word)
    words = [i for i, start in enumerate(starts) if text[start].isspace() or text[start - 1 : start].isspace()]
    passages: list[Passage] = []
    first = last = 0
    while first + budget < len(spans):
        full = first + budget
        least = max(full - budget // 3, last + 1)  # beyond the passage before, which would hold this one whole
        last = _last_in(sentences, least, full) or _last_in(words, least, full) or full
        passages.append(Passage(starts[first] if passages else 0, spans[last - 1][1]))
        low, high = max(first + 1, last - 2 * overlap), max(first + 1, last - overlap)
        first = _last_in(sentences, low, high) or _last_in(words, low, high) or high
    return [*passages, Passage(starts[first], len(text))]


def _last_in(borders: list[int], low: int, high: int) -> int | None:
    """The last border in low..high, if there is one."""
    i = bisect_right(borders, high)
    return borders[i - 1] if i and borders[i - 1] >= low else None


def passage_splitter(encoder: TextEncoder, budget: int | None, overlap: int | None) -> Splitter:
    """Splits texts as an encoder reads them.

    budget: tokens of a passage; None takes what the encoder reads of a document, at most 512. overlap: None takes an
    eighth of the budget. Raises InputError for a budget beyond what the encoder reads, which would not be found again.
    """
    # a copy: the encoder sets a truncation on its own, and here the whole text counts
    tokenizer = deepcopy(encoder.tokenizer.tokenizer)
    tokenizer.no_truncation()
    settings, limit = encoder.settings, encoder.tokenizer.limit
    prompt = len(_spans(tokenizer, settings.document_prompt)) if settings.document_prompt else 0
    framing = tokenizer.num_special_tokens_to_add(False) + prompt
    most = min(limit, settings.max_document_length or limit) - framing
    if budget is None:
        budget = min(most, _LONGEST)
    elif budget > most:
        raise InputError(f"passages of {budget} tokens: the encoder reads only {most} of a document; give at most that")
    chosen = budget // 8 if overlap is None else overlap
    split_passages("", lambda text: [], budget, chosen)  # refuses what cannot be, before any document comes
    return partial(split_passages, token_spans=partial(_spans, tokenizer), budget=budget, overlap=chosen)


def _spans(tokenizer: Any, text: str) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = tokenizer.encode(text, add_special_tokens=False).offsets
    return found
