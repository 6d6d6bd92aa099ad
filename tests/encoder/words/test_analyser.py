from __future__ import annotations

import pytest
import Stemmer
from hypothesis import given
from hypothesis import strategies as st

from saelex.encoder.words.analyser import WordAnalyser
from saelex.encoder.words.languages import STEMMERS, UNSPACED_LANGUAGES, check_language, stemmer, stop_words
from saelex.errors import InputError


@pytest.mark.parametrize(
    ("language", "text", "terms"),
    [
        ("en", "zipfile.ZipFile, os.path", ["zipfil", "zipfil", "zip", "file", "os", "path"]),
        ("en", "__init__ read_text HTTPServer", ["init", "read_text", "read", "text", "httpserver", "http", "server"]),
        ("en", "mRNA and siRNAs in the 1990s", ["mrna", "sirna", "1990s"]),
        ("none", "The Wings of 2024", ["the", "wings", "of", "2024"]),
        ("en", "How do I get what wasn't there before?", []),
        ("de", "Häuser und das Haus, wie die Hausen", ["haus", "haus", "haus"]),
        ("es", "los niños que cantaban una canción", ["niñ", "cant", "cancion"]),
        ("ru", "книги, которые были в библиотеке", ["книг", "котор", "библиотек"]),
        ("fr", "L'eau n'est plus là où elle était", ["eau", "plus", "là", "où"]),
        ("fi", "talossa on kissa", ["talo", "on", "kis"]),
        ("zh", "机器学习 GPU 很快", ["机器", "器学", "学习", "gpu", "很快"]),
        ("none", "東京へ行く", ["東京", "京へ", "へ行", "行く"]),
        ("none", "हिन्दी में", ["हिन्दी", "में"]),
        ("none", "ＡＢＣ e\u0301te\u0301", ["abc", "\u00e9t\u00e9"]),
    ],
)
def test_terms(language: str, text: str, terms: list[str]) -> None:
    assert list(WordAnalyser(language).terms(text)) == terms


@given(st.text(max_size=60))
def test_spans_and_terms_agree_on_any_text(text: str) -> None:
    analyser = WordAnalyser("en")
    spans = list(analyser.spans(text))
    assert [term for term, _, _ in spans] == list(analyser.terms(text))
    assert all(0 <= start < end <= len(text) for _, start, end in spans)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("ru", "которые книги стояли на полках библиотеки"),
        ("el", "τα βιβλία της βιβλιοθήκης"),
        ("ar", "الكتب في المكتبات"),
        ("hi", "पुस्तकालयों की किताबें"),
        ("hy", "գրադարանների գրքերը"),
        ("ta", "நூலகங்களில் புத்தகங்கள்"),
    ],
)
def test_auto_cuts_by_the_rules_of_the_scripts_language(language: str, text: str) -> None:
    own = list(WordAnalyser(language).terms(text))
    assert own != list(WordAnalyser("none").terms(text))
    assert list(WordAnalyser("auto").terms(text)) == own


def test_auto_keeps_what_a_script_does_not_tell() -> None:
    """Latin letters are of many languages; one text may hold several scripts."""
    terms = list(WordAnalyser("auto").terms("the wings in книгах и 機械学習, ספרים"))
    assert terms == ["the", "wings", "in", "книг", "機械", "械学", "学習", "ספרים"]


def test_stop_words_given_stand_in_place_of_the_languages_own() -> None:
    analyser = WordAnalyser("en", ["wings", "don't"])
    assert list(analyser.terms("The wings don't lift")) == ["the", "lift"]


def test_english_stop_words_hold_questions_and_hold_no_content() -> None:
    listed = stop_words("en")
    assert {"what", "which", "how", "my", "have", "get", "than", "do", "before", "why", "the"} <= listed
    assert listed.isdisjoint({"computer", "system", "fire", "find", "index", "list", "copy", "first", "help"})


def test_every_language_has_a_stemmer_or_bigrams() -> None:
    for language in (*STEMMERS, *UNSPACED_LANGUAGES, "none", "auto"):
        if language not in STEMMERS or STEMMERS[language] in Stemmer.algorithms():
            check_language(language)
            assert isinstance(stemmer(language)("wort"), str)
            assert all(word == word.lower() for word in stop_words(language))
    assert stop_words("zh") == stop_words("none") == frozenset()


@pytest.mark.parametrize("language", ["xx", "", "english", "EN"])
def test_an_unknown_language_is_named(language: str) -> None:
    for ask in (check_language, stemmer, stop_words, WordAnalyser):
        with pytest.raises(InputError, match=f"unknown language '{language}'; choose one of ar, .*by script"):
            ask(language)
