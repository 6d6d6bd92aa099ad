"""Words of a text, ready for lexical matching: tokenised, lowercased, stemmed, stop words left out.

English without code comes out as the field's BM25 baselines have it (two or more word characters, stop words,
Snowball). Beyond that: scripts written without spaces become character bigrams whatever the language setting, and
identifiers yield their parts beside the whole (`read_text` also read and text, `ZipFile` also zip and file).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

from saelex.encoder.words import languages

# Han, kana, Hangul, Thai, Lao, Burmese and Khmer: no spaces between words, or (Hangul) particles glued to them.
UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0edf\u1000-\u109f\u1780-\u17d3\u3041-\u3096\u309d-\u309f\u30a1-\u30fa"
    "\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
# Marks that \w leaves out although they belong to the word: accents, Hebrew and Arabic points, Indic vowel signs.
MARKS = "\u0300-\u036f\u0591-\u05bd\u064b-\u065f\u0670\u0900-\u0903\u093a-\u094f\u0951-\u0957\u0962\u0963\u0981-\u0dff"

_ASCII_WORD = re.compile(r"\w\w+", re.ASCII)
_WORD = re.compile(rf"[{UNSPACED}]+|[^\W{UNSPACED}](?:[^\W{UNSPACED}]|[{MARKS}])+")
# Humps that make an identifier of a word, and not an abbreviation (mRNA, siRNAs, PhD, CoV, DNAs).
_COMPOUND = re.compile(r"[^_]_+[^_]|[a-z]{3}[A-Z]|[a-z]{2}[A-Z][a-z]{2}|[A-Z]{2}[a-z]{2}")
_PART = re.compile(r"[A-Z]+s?(?![a-z])|[A-Z]?[a-z]+|\d+")

_CACHED_WORDS = 1 << 20


class _Cache(dict[str, tuple[str, ...]]):
    """Terms of every word seen; a miss is computed by the function given."""

    def __init__(self, compute: Callable[[str], tuple[str, ...]]) -> None:
        super().__init__()
        self._compute = compute

    def __missing__(self, word: str) -> tuple[str, ...]:
        terms = self[word] = self._compute(word)
        return terms


class WordAnalyser:
    """Splits texts into terms.

    language: decides stemmer and stop words; see `saelex.encoder.words.languages`.
    stop_words: in place of the language's own; None takes those. A word with an apostrophe counts as its parts, as it
        does in a text.

    Raises InputError for an unknown language.
    """

    def __init__(self, language: str = languages.DEFAULT_LANGUAGE, stop_words: Iterable[str] | None = None) -> None:
        self.language = language
        self.stem: Callable[[str], str] = languages.stemmer(language)
        self._given = None if stop_words is None else frozenset(stop_words)
        self._cache = _Cache(self._terms_of)

    @cached_property
    def stop_words(self) -> frozenset[str]:
        """Words in lower case that are no terms."""
        # on first use: an index that is opened has kept its own, and needs no library
        listed = languages.stop_words(self.language) if self._given is None else self._given
        return frozenset(part for word in listed for part in _WORD.findall(word))

    def terms(self, text: str) -> Iterator[str]:
        """The text's terms in order, with repetitions."""
        if len(self._cache) > _CACHED_WORDS:
            self._cache.clear()
        words = _ASCII_WORD.findall(text) if text.isascii() else _WORD.findall(text)
        for terms in map(self._cache.__getitem__, words):
            yield from terms

    def spans(self, text: str) -> Iterator[tuple[str, int, int]]:
        """Every term with the characters [start, end) of the text it stands for; a part stands for its whole word."""
        for match in (_ASCII_WORD if text.isascii() else _WORD).finditer(text):
            start, end = match.span()
            terms = self._cache[match.group()]
            if is_unspaced(text[start]):
                yield from ((term, start + i, min(start + i + 2, end)) for i, term in enumerate(terms))
            else:
                yield from ((term, start, end) for term in terms)

    def _terms_of(self, surface: str) -> tuple[str, ...]:
        if is_unspaced(surface[0]):
            return tuple(surface[i : i + 2] for i in range(max(1, len(surface) - 1)))
        words = [surface.strip("_")]
        if _COMPOUND.search(surface):
            pieces = words[0].split("_")
            words += [part for piece in pieces for part in (_PART.findall(piece) if piece.isascii() else [piece])]
        lowered = (unicodedata.normalize("NFKC", word).lower() for word in words)
        return tuple(self.stem(word) for word in lowered if len(word) > 1 and word not in self.stop_words)


def is_unspaced(character: str) -> bool:
    """Whether the character belongs to a script that does not put spaces between words."""
    return character > "\u0e00" and _UNSPACED_CHARACTER.match(character) is not None


_UNSPACED_CHARACTER = re.compile(f"[{UNSPACED}]")
