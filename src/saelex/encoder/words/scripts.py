"""Which letters are of which script."""

from __future__ import annotations

import re

# Han, kana, Hangul, Thai, Lao, Burmese and Khmer: no spaces between words, or (Hangul) particles glued to them.
UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0edf\u1000-\u109f\u1780-\u17d3\u3041-\u3096\u309d-\u309f\u30a1-\u30fa"
    "\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
LATIN = "latin"
_LETTERS = {
    LATIN: "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff",
    "arabic": "\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff",
    "armenian": "\u0531-\u058f",
    "cyrillic": "\u0400-\u052f",
    "devanagari": "\u0900-\u097f",
    "greek": "\u0370-\u03ff\u1f00-\u1fff",
    "hebrew": "\u0591-\u05f4",
    "tamil": "\u0b80-\u0bff",
    "unspaced": UNSPACED,
}
_FIRST = re.compile("|".join(f"(?P<{script}>[{letters}])" for script, letters in _LETTERS.items()))
_RUNS = {script: re.compile(f"[{letters}]+") for script, letters in _LETTERS.items()}
_ASCII_LETTER = re.compile("[A-Za-z]")


def is_unspaced(character: str) -> bool:
    """Whether the character belongs to a script that does not put spaces between words."""
    return character > "\u0e00" and _RUNS["unspaced"].match(character) is not None


def script_of_word(word: str) -> str | None:
    """The script of a word's first letter; None for one that stands in none of these."""
    found = _FIRST.match(word)
    return None if found is None else found.lastgroup


def script_of_text(text: str) -> str | None:
    """The script that most letters of a text are of; None for a text without letters of any of these."""
    if text.isascii():
        return LATIN if _ASCII_LETTER.search(text) else None
    counts = {script: sum(map(len, runs.findall(text))) for script, runs in _RUNS.items()}
    most = max(counts, key=counts.__getitem__)
    return most if counts[most] else None
