"""Words of a text, ready for lexical matching: tokenised, lowercased, stemmed, stop words left out.

English without code comes out as the field's BM25 baselines have it (two or more word characters, stop words,
Snowball). Beyond that: scripts written without spaces become character bigrams whatever the language setting, and
identifiers yield their parts beside the whole (`read_text` also read and text, `ZipFile` also zip and file).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping

from saelex.encoder.words import languages
from saelex.encoder.words.languages import AUTO, check_language
from saelex.encoder.words.scripts import UNSPACED, is_unspaced
from saelex.encoder.words.telling import check_telling, surely_told, tell_language, tell_language_among

# Marks that \w leaves out although they belong to the word: accents, Hebrew and Arabic points, Indic vowel signs.
MARKS = "\u0300-\u036f\u0591-\u05bd\u064b-\u065f\u0670\u0900-\u0903\u093a-\u094f\u0951-\u0957\u0962\u0963\u0981-\u0dff"

_ASCII_WORD = re.compile(r"\w\w+", re.ASCII)
_WORD = re.compile(rf"[{UNSPACED}]+|[^\W{UNSPACED}](?:[^\W{UNSPACED}]|[{MARKS}])+")
# Humps that make an identifier of a word, and not an abbreviation (mRNA, siRNAs, PhD, CoV, DNAs).
_COMPOUND = re.compile(r"[^_]_+[^_]|[a-z]{3}[A-Z]|[a-z]{2}[A-Z][a-z]{2}|[A-Z]{2}[a-z]{2}")
_PART = re.compile(r"[A-Z]+s?(?![a-z])|[A-Z]?[a-z]+|\d+")

_CACHED_WORDS = 1 << 20
_FOREIGN_SHARE = 0.01  # a page of formulas or names among others is told to be English


class WordAnalyser:
    """Splits texts into terms.

    language: decides stemmer and stop words; see `saelex.encoder.words.languages`.
    stop_words: language -> in place of its own; None takes those. A word with an apostrophe counts as its parts, as it
        does in a text.

    Under "auto" a document is cut by the rules of the language it tells. A query is cut by those of the likeliest
    language of the documents, so that one in a language they have not finds names and loan words as they have them, and
    loses the stop words of its own, too. Raises InputError for an unknown language.
    """

    def __init__(
        self,
        language: str = languages.DEFAULT_LANGUAGE,
        stop_words: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        check_language(language)
        if language == AUTO:
            check_telling()
        self.language = language
        self._given = stop_words
        self._stop_words: dict[str, frozenset[str]] = {}
        self._rules: dict[tuple[tuple[str, ...], tuple[str, ...]], _Rules] = {}

    def tell(self, text: str) -> str:
        """The language whose rules cut a document."""
        return tell_language(text) if self.language == AUTO else self.language

    def stop_words(self, language: str) -> frozenset[str]:
        """Words in lower case that are no terms of a text in this language."""
        # on first use: an index that is opened has kept its own, and needs no library
        if language not in self._stop_words:
            listed = languages.stop_words(language) if self._given is None else self._given.get(language, ())
            self._stop_words[language] = frozenset(part for word in listed for part in _WORD.findall(word))
        return self._stop_words[language]

    def terms(self, text: str, shares: Mapping[str, int] | None = None) -> Iterator[str]:
        """The text's terms in order, with repetitions.

        shares: language -> how many of the documents are in it, where the text is a query of them.
        """
        rules = self._rules_for(text, shares)
        for terms in map(rules.__getitem__, _words(text).findall(text)):
            yield from terms

    def spans(self, text: str, shares: Mapping[str, int] | None = None) -> Iterator[tuple[str, int, int]]:
        """Every term with the characters [start, end) of the text it stands for; a part stands for its whole word."""
        rules = self._rules_for(text, shares)
        for match in _words(text).finditer(text):
            start, end = match.span()
            terms = rules[match.group()]
            if is_unspaced(text[start]):
                yield from ((term, start + i, min(start + i + 2, end)) for i, term in enumerate(terms))
            else:
                yield from ((term, start, end) for term in terms)

    def terms_of(self, text: str, spoken: Iterable[str]) -> set[str]:
        """The text's terms in any of these languages."""
        if self.language != AUTO:
            return set(self.terms(text))
        words = _words(text).findall(text)
        return {term for language in spoken for word in words for term in self._rules_of((language,), language)[word]}

    def is_foreign(self, text: str, shares: Mapping[str, int]) -> bool:
        """Whether a query tells for sure a language that next to none of the documents is in; only under "auto"."""
        told = surely_told(text) if self.language == AUTO else None
        return told is not None and shares.get(told, 0) < _FOREIGN_SHARE * sum(shares.values())

    def _rules_for(self, text: str, shares: Mapping[str, int] | None) -> _Rules:
        if self.language != AUTO:
            return self._rules_of((self.language,), self.language)
        own = tell_language(text)
        if shares is None:
            return self._rules_of((own,), own)
        likeliest = tell_language_among(text, shares)
        return self._rules_of((likeliest, *languages.most_of_each_script(shares)), likeliest, own)

    def _rules_of(self, stemmed: tuple[str, ...], *stopped: str) -> _Rules:
        """The stemmers of the first languages, each for its script, the stop words of the others."""
        if (rules := self._rules.get((stemmed, stopped))) is None:
            stem = languages.stemmer_of_told(stemmed) if self.language == AUTO else languages.stemmer(self.language)
            listed = frozenset[str]().union(*map(self.stop_words, stopped))
            rules = self._rules[stemmed, stopped] = _Rules(stem, listed)
        if len(rules) > _CACHED_WORDS:
            rules.clear()
        return rules


class _Rules(dict[str, tuple[str, ...]]):
    """Terms of every word seen; a miss is cut and stemmed."""

    def __init__(self, stem: Callable[[str], str], stop_words: frozenset[str]) -> None:
        super().__init__()
        self._stem = stem
        self._stop_words = stop_words

    def __missing__(self, surface: str) -> tuple[str, ...]:
        terms = self[surface] = self._terms_of(surface)
        return terms

    def _terms_of(self, surface: str) -> tuple[str, ...]:
        if is_unspaced(surface[0]):
            return tuple(surface[i : i + 2] for i in range(max(1, len(surface) - 1)))
        words = [surface.strip("_")]
        if _COMPOUND.search(surface):
            pieces = words[0].split("_")
            words += [part for piece in pieces for part in (_PART.findall(piece) if piece.isascii() else [piece])]
        lowered = (unicodedata.normalize("NFKC", word).lower() for word in words)
        # Snowball leaves nothing of some words (Greek ίδια): they stay as they are
        return tuple(self._stem(word) or word for word in lowered if len(word) > 1 and word not in self._stop_words)


def _words(text: str) -> re.Pattern[str]:
    return _ASCII_WORD if text.isascii() else _WORD
