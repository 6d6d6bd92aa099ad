from __future__ import annotations

import pytest

from saelex.concepts.content import content_words
from saelex.encoder.words.languages import STEMMERS, UNSTEMMED_LANGUAGES

FUNCTION_WORDS = {
    "ar": "من", "ca": "amb", "da": "og", "de": "und", "el": "και", "en": "the", "es": "para", "et": "ja", "eu": "eta",
    "fi": "että", "fr": "avec", "ga": "agus", "hi": "और", "hu": "hogy", "hy": "և", "id": "yang", "it": "della",
    "lt": "kad", "ne": "र", "nl": "het", "no": "ikke", "pt": "para", "ro": "și", "ru": "что", "sr": "је", "sv": "och",
    "ta": "ஒரு", "tr": "ve", "yi": "און", "vi": "của", "ja": "は", "ko": "는", "zh": "的", "auto": "the", "none": "и",
}  # fmt: skip


@pytest.mark.parametrize(("language", "word"), FUNCTION_WORDS.items())
def test_function_words_and_signs_of_every_language_are_no_content(language: str, word: str) -> None:
    is_content = content_words(language)
    assert not is_content(word) and not is_content(word.upper())
    for sign in (",", "...", "—", "。", "_", "'", "", "x"):
        assert not is_content(sign)
    assert is_content("2024")


def test_the_languages_are_all_tried() -> None:
    assert {*STEMMERS, *UNSTEMMED_LANGUAGES} - FUNCTION_WORDS.keys() <= {"th"}


def test_fragments_of_contractions_are_words_of_their_own() -> None:
    is_content = content_words("en")
    assert all(is_content(word) for word in ("won", "don", "ma", "wing"))
    assert not any(is_content(word) for word in ("won't", "don’t", "isn't", "isn", "one", "get"))
