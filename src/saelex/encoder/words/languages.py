"""What a language is to exact words: a stemmer and a list of stop words.

An ISO 639-1 code names both. "none" takes words as they are, whatever the language. "auto" tells the language of every
text (`saelex.encoder.words.telling`) and cuts it by the rules of that one. Scripts without spaces between words become
character bigrams under every code (see `WordAnalyser`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path

from saelex.encoder.words.scripts import LATIN, script_of_word
from saelex.errors import InputError
from saelex.reading.json_object import JsonObject, read_json

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
# Languages of bigrams, and (Vietnamese) of syllables between spaces, which need no stemmer and have no stop words.
UNSPACED_LANGUAGES = ("ja", "ko", "th", "zh")
UNSTEMMED_LANGUAGES = tuple(sorted((*UNSPACED_LANGUAGES, "vi")))
# What is told apart among texts of one script. The first stands for texts that do not tell, and for words of this
# script in a text of another. Some have no stemmer: told, they are not taken for a neighbour and cut by its rules.
LANGUAGES_OF_SCRIPT = {
    "latin": (
        "en", "ca", "cs", "da", "de", "es", "et", "eu", "fi", "fr", "ga", "hr", "hu", "id", "it", "lt", "lv", "nl",
        "no", "pl", "pt", "ro", "sk", "sl", "sq", "sv", "sw", "tl", "tr", "vi",
    ),
    "arabic": ("ar", "fa", "ur"), "armenian": ("hy",), "cyrillic": ("ru", "bg", "mk", "sr", "uk"),
    "devanagari": ("hi", "mr", "ne"), "greek": ("el",), "hebrew": ("he", "yi"), "tamil": ("ta",), "unspaced": (PLAIN,),
}  # fmt: skip
# Lists of NLTK (Snowball's, mostly) as bm25s has them (MIT); that of English with the question words, not Lucene's 33.
_STOP_WORDS_FILE = Path(__file__).with_name("stop_words.json")
_LISTED = ("da", "de", "en", "es", "fr", "it", "nl", "no", "pt", "ru", "sv", "tr")
# Function words that the list lacks: "how do I get ...".
_MORE_STOP_WORDS = {"en": frozenset({"get", "gets", "getting", "got"})}


def check_language(language: str) -> None:
    """Raises InputError for anything but a code above, "none" or "auto"."""
    known = _stemmed()
    if language not in (*known, *UNSTEMMED_LANGUAGES, PLAIN, AUTO):
        raise InputError(
            f"words: unknown language {language!r}; choose one of {', '.join(known)}, "
            f"{', '.join(UNSTEMMED_LANGUAGES)}, {PLAIN} (words as they are) or {AUTO} (as each text tells)"
        )


def check_told(language: str) -> None:
    """Raises InputError for a code that is no language which texts are told to be in."""
    if language not in TOLD_LANGUAGES:
        raise InputError(f"labels: unknown language {language!r:.40}; choose one of {', '.join(TOLD_LANGUAGES)}")


def with_rules(language: str) -> str:
    """The language, where words have rules of it; "none" for one that is only told."""
    return language if language in (*_stemmed(), *UNSTEMMED_LANGUAGES, AUTO) else PLAIN


def stemmer(language: str) -> Callable[[str], str]:
    """What makes one term of a word's inflections; the word is in lower case. Raises InputError as `check_language`.

    Of "auto", which is of whole texts, that of lone words: by script, those in Latin letters as they are.
    """
    check_language(language)
    return _stemmer(language) if language != AUTO else _stemmer_by_script({LATIN: PLAIN})


def stemmer_of_told(told: Iterable[str]) -> Callable[[str], str]:
    """Each of these languages' for the words of its script, the earlier one's where two share theirs.

    Words of any other script have the first language of theirs.
    """
    return _stemmer_by_script({_SCRIPT_OF[language]: language for language in reversed([*told])})


def most_of_each_script(shares: Mapping[str, int]) -> list[str]:
    """Of these languages, told of texts, the most frequent of each script."""
    ordered = sorted(shares, key=lambda language: (shares[language], language))
    return sorted({_SCRIPT_OF[language]: language for language in ordered}.values())


def _stemmer_by_script(chosen: Mapping[str, str]) -> Callable[[str], str]:
    firsts = {script: languages[0] for script, languages in LANGUAGES_OF_SCRIPT.items()}
    stemmers = {script: _stemmer(language) for script, language in {**firsts, **chosen}.items()}

    def stem(word: str) -> str:
        script = script_of_word(word)
        return word if script is None else stemmers[script](word)

    return stem


def stop_words(language: str) -> frozenset[str]:
    """Words, in lower case, that hold sentences together and say nothing of what a text is about.

    Empty where there is no list, and for "none" and "auto". Raises InputError for no language at all.
    """
    if language not in _SCRIPT_OF:  # those have rules or are told
        check_language(language)
    if language not in _LISTED:
        return frozenset()
    return _MORE_STOP_WORDS.get(language, frozenset()).union(_lists().text(language).split())


@cache
def _lists() -> JsonObject:
    return read_json(_STOP_WORDS_FILE)


_SCRIPT_OF = {language: script for script, languages in LANGUAGES_OF_SCRIPT.items() for language in languages}
_SCRIPT_OF |= dict.fromkeys(UNSPACED_LANGUAGES, "unspaced")
LISTED_LANGUAGES = _LISTED
"""Those that have stop words."""
TOLD_LANGUAGES = tuple(sorted(_SCRIPT_OF.keys() - {PLAIN}))
"""Those that a text can tell (`saelex.encoder.words.telling`)."""


@cache
def _stemmed() -> list[str]:
    import Stemmer

    return sorted(code for code, algorithm in STEMMERS.items() if algorithm in Stemmer.algorithms())


@cache
def _stemmer(language: str) -> Callable[[str], str]:
    if language not in _stemmed():
        return str
    import Stemmer

    stem: Callable[[str], str] = Stemmer.Stemmer(STEMMERS[language]).stemWord
    return stem
