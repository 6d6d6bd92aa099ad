"""What a language is to exact words: a stemmer and a list of stop words.

An ISO 639-1 code names both. "none" takes words as they are, whatever the language. "auto" goes word by word, by
script: where one of the languages here stands for a script, its stemmer and stop words serve every word of that script,
be the word Persian or Ukrainian; of words in Latin letters, which tell nothing, and in any other script, it keeps all
as they are. Scripts without spaces between words become character bigrams under every code (see `WordAnalyser`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from saelex.errors import InputError

DEFAULT_LANGUAGE = "en"
AUTO, PLAIN = "auto", "none"

# Snowball's algorithm for each ISO 639-1 code.
STEMMERS = {
    "ar": "arabic", "ca": "catalan", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish",
    "et": "estonian", "eu": "basque", "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian",
    "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian", "ne": "nepali", "nl": "dutch",
    "no": "norwegian", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian", "sv": "swedish",
    "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip
# Languages of bigrams, which need no stemmer and have no stop words.
UNSPACED_LANGUAGES = ("ja", "ko", "th", "zh")
# The language that stands for a script under "auto": the largest of those above that are written in it.
_SCRIPTS = {
    "ar": "\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff", "el": "\u0370-\u03ff\u1f00-\u1fff", "hi": "\u0900-\u097f",
    "hy": "\u0531-\u058f", "ru": "\u0400-\u052f", "ta": "\u0b80-\u0bff",
}  # fmt: skip
_SCRIPT = re.compile("|".join(f"(?P<{code}>[{letters}])" for code, letters in _SCRIPTS.items()))
# The lists of bm25s, which are NLTK's (Snowball's, mostly); those of English with the question words, not Lucene's 33.
_STOP_WORDS = {
    "da": "DANISH", "de": "GERMAN", "en": "EN_PLUS", "es": "SPANISH", "fr": "FRENCH", "it": "ITALIAN", "nl": "DUTCH",
    "no": "NORWEGIAN", "pt": "PORTUGUESE", "ru": "RUSSIAN", "sv": "SWEDISH", "tr": "TURKISH",
}  # fmt: skip
# Function words that the library's list lacks: "how do I get ...".
_MORE_STOP_WORDS = {"en": frozenset({"get", "gets", "getting", "got"})}


def check_language(language: str) -> None:
    """Raises InputError for anything but a code above, "none" or "auto"."""
    known = _stemmed()
    if language not in (*known, *UNSPACED_LANGUAGES, PLAIN, AUTO):
        raise InputError(
            f"words: unknown language {language!r}; choose one of {', '.join(known)}, "
            f"{', '.join(UNSPACED_LANGUAGES)}, {PLAIN} (words as they are) or {AUTO} (by script)"
        )


def stemmer(language: str) -> Callable[[str], str]:
    """What makes one term of a word's inflections; the word is in lower case. Raises InputError as `check_language`."""
    check_language(language)
    if language == AUTO:
        return _stem_by_script
    return _snowball(language) if language in STEMMERS else str


def stop_words(language: str) -> frozenset[str]:
    """Words, in lower case, that hold sentences together and say nothing of what a text is about.

    Empty where the library has no list. Raises InputError as `check_language`.
    """
    check_language(language)
    if language == AUTO:  # no two scripts share a word
        return frozenset().union(*map(stop_words, _SCRIPTS))
    if language not in _STOP_WORDS:
        return frozenset()
    import bm25s.stopwords

    listed: tuple[str, ...] = getattr(bm25s.stopwords, f"STOPWORDS_{_STOP_WORDS[language]}")
    return _MORE_STOP_WORDS.get(language, frozenset()).union(listed)


@cache
def _stemmed() -> list[str]:
    import Stemmer

    return sorted(code for code, algorithm in STEMMERS.items() if algorithm in Stemmer.algorithms())


def _snowball(language: str) -> Callable[[str], str]:
    import Stemmer

    stem: Callable[[str], str] = Stemmer.Stemmer(STEMMERS[language]).stemWord
    return stem


def _stem_by_script(word: str) -> str:
    script = _SCRIPT.match(word)
    return word if script is None or script.lastgroup is None else _stemmer_of_script(script.lastgroup)(word)


@cache
def _stemmer_of_script(language: str) -> Callable[[str], str]:
    return _snowball(language) if language in _stemmed() else str
