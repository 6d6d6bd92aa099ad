from __future__ import annotations

import pytest

from saelex.concepts.content import content_words, content_words_in, words_in
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


def cut(pieces: str) -> list[str]:
    """The words of a text whose tokenizer's pieces are marked by bars."""
    text, spans, at = pieces.replace("|", ""), [(0, 0)], 0
    for piece in pieces.split("|"):
        spans.append((at, at + len(piece)))
        at += len(piece)
    return [text[start:end] for start, end in words_in(text, spans)]


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ("机|翼|如何|产生|升|力|？", ["机翼", "如何", "产生", "升力", "？"]),
        ("飞机|的|机|翼", ["飞机", "的", "机翼"]),  # a particle is no part of a word
        ("飞|机|产|生|升|力", ["飞", "机", "产", "生", "升", "力"]),  # a tokenizer that spells everything
        ("ปี|ก|เครื่องบิน|แรง|ยก", ["ปีก", "เครื่องบิน", "แรง", "ยก"]),
        ("เ|ครื|่องบ|ิน", ["เครื่", "องบิน"]),  # cut between letters alone, whatever the pieces
        ("비|행|기| 날|개|는", ["비행기", "날개는"]),
        ("苹果| iPho|ne| 手机|!", ["苹果", "iPhone", "手机", "!"]),
        ("Auf|trieb, don't", ["Auftrieb", ",", "don't"]),
    ],
)
def test_words_of_scripts_without_spaces_are_the_tokenizers(pieces: str, words: list[str]) -> None:
    assert cut(pieces) == words


def test_without_pieces_and_beyond_them_each_character_is_a_word() -> None:
    text = "机翼产生"
    assert words_in(text) == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert words_in(text, [(0, 0), (0, 2)]) == [(0, 2), (2, 3), (3, 4)]


def test_auto_takes_the_function_words_of_the_language_that_the_text_tells() -> None:
    german = content_words_in("Wie entsteht der Auftrieb eines Flügels?", "auto")
    assert not german("der") and not german("eines") and german("Auftrieb") and german("the")
    assert content_words_in("Jak skrzydło samolotu wytwarza siłę nośną?", "auto")("skrzydło")  # told, without rules
    assert content_words_in("Wie entsteht der Auftrieb?", "en")("der")
