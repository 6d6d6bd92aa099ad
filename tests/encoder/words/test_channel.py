from __future__ import annotations

import json
from functools import partial

import bm25s
import numpy as np
import pytest
import Stemmer
from hypothesis import given
from hypothesis import strategies as st

from saelex.encoder.words.channel import FORMAT, LexicalChannel, LexicalSettings
from saelex.errors import InputError

TEXTS = [
    "How do wings create lift? The wing's shape creates a pressure difference.",
    "Boundary layers in laminar flow, and the heat they carry into the wings.",
    "A zip archive is read with the zipfile module.",
    "Lift, drag and lift-to-drag ratio of delta wings at Mach 2.5",
    "",
]


def test_scores_equal_bm25s_on_plain_english() -> None:
    stemmer = Stemmer.Stemmer("english")
    tokenize = partial(bm25s.tokenize, stopwords="en_plus", stemmer=stemmer, return_ids=False, show_progress=False)
    tokens = tokenize(TEXTS)
    reference = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
    reference.index(tokens, show_progress=False)
    channel = LexicalChannel().fit(TEXTS)
    for query in ["what creates the lift of wings", "zip archives and zip files", "heat heat wings"]:
        terms = tokenize(query)[0]
        known = [term for term in terms if term in reference.vocab_dict]
        scores = channel.query(query).dot(channel.document(TEXTS))[0]
        np.testing.assert_allclose(scores, reference.get_scores(known), rtol=1e-5)


def test_scale_is_on_the_querys_side_alone() -> None:
    plain = LexicalChannel().fit(TEXTS)
    scaled = LexicalChannel(LexicalSettings(scale=0.3)).fit(TEXTS)
    np.testing.assert_array_equal(plain.document(TEXTS).weights, scaled.document(TEXTS).weights)
    np.testing.assert_allclose(plain.query("wing lift").weights * 0.3, scaled.query("wing lift").weights, rtol=1e-6)


def test_vocabulary_grows_with_documents_and_not_with_queries() -> None:
    channel = LexicalChannel().fit(TEXTS[:2])
    before, known = channel.document(TEXTS[:2]), len(channel)
    assert channel.query("zip archive").n_nonzero == 0
    assert len(channel) == known
    later = channel.document(TEXTS[2])
    assert channel.new_words_since(known) == ["zip", "archiv", "read", "zipfil", "modul"]
    assert later.n_latents == len(channel) == known + 5
    np.testing.assert_array_equal(channel.document(TEXTS[:2]).weights, before.weights)
    # an unseen word is worth the idf of document frequency 0 among the two documents counted
    np.testing.assert_allclose(channel.query("archive").weights, np.log(1 + 2.5 / 0.5), rtol=1e-6)
    assert (later.positions == -1).all()


def test_words_of_documents_not_stored_are_taken_back() -> None:
    channel = LexicalChannel().fit(TEXTS[:2])
    known = list(channel)
    channel.document(TEXTS[2])
    channel.forget_words_since(len(known))
    assert list(channel) == known
    assert channel.find("archive") == []
    channel.document("turbines")
    assert channel.word(len(known)) == "turbin"


def test_state_through_json_with_later_words() -> None:
    channel = LexicalChannel(LexicalSettings(scale=0.5, k1=1.1)).fit(TEXTS[:3])
    state = json.loads(json.dumps(channel.to_state()))
    stored = len(channel)
    wanted = channel.weigh_documents(channel.count(TEXTS, grow=True), 7.5)
    again = LexicalChannel.from_state(state, channel)
    assert list(again) == list(channel) and again.settings == channel.settings
    got = again.weigh_documents(again.count(TEXTS, grow=False), 7.5)
    np.testing.assert_array_equal(got.latents, wanted.latents)
    np.testing.assert_array_equal(got.weights, wanted.weights)
    reader = LexicalChannel.from_state(state, list(channel)[:stored])
    reader.extend(channel.new_words_since(stored))
    assert list(reader) == list(channel)
    with pytest.raises(InputError, match="twice"):
        LexicalChannel.from_state(state, [*channel, "wing"])
    with pytest.raises(InputError, match="not the saved state"):
        LexicalChannel.from_state({"format": FORMAT})


def test_a_channel_of_other_rules_is_refused() -> None:
    """An index of before keeps the stop words of before nowhere, and would find by others what it indexed by those."""
    state = LexicalChannel().fit(TEXTS).to_state() | {"format": "saelex-words/1"}
    with pytest.raises(InputError, match=r"kept as 'saelex-words/1', .* index the documents anew"):
        LexicalChannel.from_state(state)


def test_a_channel_keeps_its_stop_words_whatever_the_list_becomes(monkeypatch: pytest.MonkeyPatch) -> None:
    state = json.loads(json.dumps(LexicalChannel().fit(TEXTS).to_state()))
    monkeypatch.setattr("saelex.encoder.words.languages.stop_words", lambda language: frozenset({"wings"}))
    assert list(LexicalChannel().analyser.terms("how wings fly")) == ["how", "fli"]
    assert list(LexicalChannel.from_state(state).analyser.terms("how wings fly")) == ["wing", "fli"]


def test_auto_through_json_keeps_lists_by_language_and_cuts_queries_by_shares() -> None:
    texts = ["Die Häuser der Stadt und ihre Bürger", "The houses of the city and their citizens", "города и книги"]
    channel = LexicalChannel(LexicalSettings("auto")).fit(texts)
    assert channel.shares == {"de": 1, "en": 1, "ru": 1}
    assert [list(channel.shares)] == [["de", "en", "ru"]] and {"haus", "hous", "книг"} <= set(channel)
    state = json.loads(json.dumps(channel.to_state()))
    assert "und" in state["stop_words"]["de"] and "the" in state["stop_words"]["en"]
    again = LexicalChannel.from_state(state, channel)
    again.shares = channel.shares
    for query in ("Welche Häuser stehen in der Stadt", "which houses are in the city", "книга"):
        wanted = channel.count([query], grow=False)
        np.testing.assert_array_equal(again.count([query], grow=False).latents, wanted.latents)
        assert wanted.n_nonzero and channel.spans(query, query=True)
    assert channel.word(channel.find("Häuser")[0]) == "haus"


GERMAN = [
    f"Der Fernsehturm in Tokyo steht seit {year} an der Bucht, und viele Menschen sehen ihn." for year in range(150)
]
ENGLISH = "The tower of Tokyo has been standing beside the bay for more than a hundred years."


@pytest.mark.parametrize(("documents", "worth"), [(GERMAN, 0.25), ([*GERMAN, ENGLISH], 0.25), ([ENGLISH] * 3, 1.0)])
def test_words_of_a_language_that_the_documents_are_not_in_count_a_quarter(documents: list[str], worth: float) -> None:
    """One page in a hundred and fifty is no language of the documents: formulas and names are taken for English."""
    channel = LexicalChannel(LexicalSettings("auto")).fit(documents)
    asked = channel.query("Which is the tallest tower that stands in Tokyo today?")
    with_name = sum("Tokyo" in text for text in documents)
    idf = np.log(1 + (len(documents) - with_name + 0.5) / (with_name + 0.5))
    weights = dict(zip(map(channel.word, asked.latents.tolist()), asked.weights.tolist()))
    assert weights["tokyo"] == pytest.approx(worth * idf, rel=1e-5)
    assert channel.count(["Wer sieht den Turm in Tokyo?"], grow=True).weights.min() == 1.0


def test_a_query_that_tells_no_language_counts_in_full() -> None:
    channel = LexicalChannel(LexicalSettings("auto")).fit(GERMAN)
    assert channel.count(["Tokyo"], grow=False).weights.tolist() == [1.0]
    assert LexicalChannel(LexicalSettings("de")).fit(GERMAN).count([ENGLISH], grow=False).weights.tolist() == [1.0]


def test_spans_name_the_words_in_the_text() -> None:
    channel = LexicalChannel().fit(TEXTS)
    text = "Wings: the “LIFT” of a wing, zipfile.ZipFile"
    found = [(channel.word(dim), text[start:end]) for dim, start, end in channel.spans(text)]
    assert found == [
        ("wing", "Wings"),
        ("lift", "LIFT"),
        ("wing", "wing"),
        ("zipfil", "zipfile"),
        ("zipfil", "ZipFile"),
        ("zip", "ZipFile"),
    ]


def test_the_idf_is_the_querys_alone() -> None:
    """What is stored of a document is its own words and the mean length, whatever else the channel was fitted on."""
    few, many = LexicalChannel().fit(TEXTS[:1]), LexicalChannel().fit(TEXTS)
    counts = few.count(TEXTS[:1], grow=False)
    np.testing.assert_array_equal(
        few.weigh_documents(counts, 9.0).weights, many.weigh_documents(many.count(TEXTS[:1], grow=False), 9.0).weights
    )
    assert few.document(TEXTS[:1]).weights.max() < 1


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_rows_are_well_formed_on_any_text(texts: list[str]) -> None:
    rows = LexicalChannel().fit(texts).document(texts)
    rows.build(rows.indptr, rows.latents, rows.weights, rows.n_latents, rows.positions)
    assert len(rows) == len(texts)


def test_bad_use_is_named() -> None:
    with pytest.raises(InputError, match="unknown language 'xx'"):
        LexicalChannel(LexicalSettings(language="xx"))
    with pytest.raises(InputError, match="scale"):
        LexicalSettings(scale=0.0)
    with pytest.raises(InputError, match="call fit"):
        LexicalChannel().document("text")
    with pytest.raises(InputError, match="frozen"):
        LexicalChannel().fit(TEXTS).fit(TEXTS)
