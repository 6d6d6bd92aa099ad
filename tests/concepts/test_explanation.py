from __future__ import annotations

import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from saelex.concepts.content import content_words, content_words_in
from saelex.concepts.explanation import REST, FiredText, explain, whole_word
from saelex.concepts.steering import Steering

QUERY_TEXT = "How do wings create lift?"
DOCUMENT_TEXT = "The aerodynamics of a wing: lift, and lift-induced drag."


def fired(weights: dict[int, int]) -> FiredText:
    ordered = sorted(weights.items())
    return FiredText("", np.array([i for i, _ in ordered], np.int32), np.array([w for _, w in ordered], np.uint16))


def spans_of(text: str, *pieces: str) -> list[tuple[int, int]]:
    return [(text.index(piece), text.index(piece) + len(piece)) for piece in pieces]


@pytest.fixture
def query() -> FiredText:
    # position 0 is a special token; the latents 3, 5, 6 are concepts, the dimension 102 is the word "lift"
    return FiredText(
        QUERY_TEXT,
        np.array([3, 5, 6, 102], np.int32),
        np.array([10, 20, 7, 5], np.uint16),
        np.array([1, 2, 0, -1], np.int32),
        [(0, 0), *spans_of(QUERY_TEXT, "wing", "lift")],
        [(102, *spans_of(QUERY_TEXT, "lift")[0])],
    )


@pytest.fixture
def document() -> FiredText:
    lift, induced = DOCUMENT_TEXT.index("lift"), DOCUMENT_TEXT.index("lift-")
    return FiredText(
        DOCUMENT_TEXT,
        np.array([3, 4, 5, 6, 102], np.int32),
        np.array([100, 9, 30, 1, 2], np.uint8),
        np.array([1, 1, 1, 0, -1], np.int32),
        [(0, 0), *spans_of(DOCUMENT_TEXT, "dynamic")],
        [(102, lift, lift + 4), (102, induced, induced + 4)],
    )


def test_products_words_and_labels(query: FiredText, document: FiredText) -> None:
    steering = Steering(boost={5: 2.0}, ban=frozenset({40}))
    found = explain(
        query, document, document_id="d7", scale=0.5, n_latents=100, label="concept {}".format, steering=steering
    )
    assert found.score == (10 * 100 + 20 * 30 + 7 * 1 + 5 * 2) * 0.5
    assert [(row.latent, row.contribution, row.label, row.note) for row in found.contributions] == [
        (3, 500.0, "concept 3", ""),
        (5, 300.0, "concept 5", "boost x2"),
        (102, 5.0, "word:lift", ""),
        (6, 3.5, "concept 6", ""),
    ]
    assert found.contributions[0].query_words == ["wings"]
    assert found.contributions[0].document_words == ["aerodynamics"]
    assert (found.contributions[2].query_words, found.contributions[2].document_words) == (["lift"], ["lift"])
    assert found.contributions[3].query_words == []  # a special token is no word
    assert found.banned == ["concept 40"]
    assert found.to_json()[0] == {
        "latent": 3,
        "label": "concept 3",
        "contribution": 500.0,
        "query_words": ["wings"],
        "document_words": ["aerodynamics"],
    }
    assert found.to_json()[1]["note"] == "boost x2"


def test_short_list_ends_with_the_rest(query: FiredText, document: FiredText) -> None:
    found = explain(query, document, document_id="d7", scale=0.5, n_latents=100, label=str)
    top = found.top(2)
    assert [row.contribution for row in top] == [500.0, 300.0, 8.5]
    assert (top[-1].latent, top[-1].label) == (REST, "… 2 more, 1% of the score")
    assert found.top(3) == found.contributions  # a rest of one row is that row
    printed = str(found).splitlines()
    assert printed[0] == "d7  808.500  for 'How do wings create lift?'"
    assert printed[1].split() == ["500.000", "3", "wings", "→", "aerodynamics"]


weights = st.dictionaries(st.integers(0, 40), st.integers(1, 65535), max_size=40)


@given(weights, weights, st.floats(1e-9, 1e3), st.integers(1, 12))
def test_contributions_sum_to_the_score_to_the_last_bit(
    query: dict[int, int], document: dict[int, int], scale: float, n: int
) -> None:
    found = explain(fired(query), fired(document), document_id="d", scale=scale, n_latents=41, label=str)
    total = sum(weight * document.get(latent, 0) for latent, weight in query.items())
    assert found.score == float(Fraction(total) * Fraction(scale))
    assert math.fsum(row.contribution for row in found.contributions) == found.score
    assert math.fsum(row.contribution for row in found.top(n)) == found.score
    for row in found.contributions:
        product = query[row.latent] * document[row.latent] * scale
        assert row.contribution == pytest.approx(product, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "piece", "word"),
    [
        ("unbelievably good", "liev", "unbelievably"),
        ("the wing's tip", "wing", "wing's"),
        ("lift-induced drag", "lift", "lift"),
        ("read_text(path)", "text", "read_text"),
        ("a byte-level token", " token", "token"),
        ("end. Next", ".", "."),
        ("(quoted 'word' here)", "word", "word"),
        ("हिन्दी में", "ह", "हिन्दी"),
        ("東京大学へ", "東京", "東京"),
        ("a  b", "  ", ""),
    ],
)
def test_whole_word(text: str, piece: str, word: str) -> None:
    start = text.index(piece)
    assert whole_word(text, start, start + len(piece)) == word


def test_equal_labels_are_one_row_that_names_its_latents(query: FiredText, document: FiredText) -> None:
    found = explain(query, document, document_id="d7", scale=0.5, n_latents=100, label=lambda latent: "wing")
    assert [(row.label, row.latents, row.contribution) for row in found.by_label] == [
        ("wing", (3, 5, 6), 803.5),
        ("word:lift", (), 5.0),
    ]
    assert found.by_label[0].numbered_label == "wing #3 #5 #6"
    assert found.by_label[0].query_words[0] == "wings"
    assert [row.latent for row in found.contributions] == [3, 5, 102, 6]


@given(weights, weights, st.floats(1e-9, 1e3), st.integers(1, 12), st.integers(1, 5))
def test_rows_of_labels_sum_to_the_score_to_the_last_bit(
    query: dict[int, int], document: dict[int, int], scale: float, n: int, labels: int
) -> None:
    found = explain(
        fired(query),
        fired(document),
        document_id="d",
        scale=scale,
        n_latents=41,
        label=lambda latent: str(latent % labels),
    )
    assert math.fsum(row.contribution for row in found.by_label) == found.score
    assert math.fsum(row.contribution for row in found.top(n)) == found.score
    assert len({row.label for row in found.by_label}) == len(found.by_label) <= labels


def test_a_latent_at_a_function_word_shows_the_strongest_content_word() -> None:
    text = "The wing , lift and the drag"
    spans = [(match.start(), match.end()) for match in re.finditer(r"\w+|,", text)]
    positions = np.array([0, 1, 2, 3, 3])
    weights = np.array([9, 4, 9, 3, 2], np.int64)
    fired_text = FiredText(text, np.arange(5), weights, positions, spans, is_content=content_words("en"))
    assert [fired_text.fired(i) for i in range(4)] == [
        ([], ["lift"]), (["wing"], []), ([], ["lift"]), (["lift"], []),
    ]  # fmt: skip
    nothing = FiredText("the , and", np.arange(1), weights[:1], positions[:1], [(0, 3)], is_content=content_words("en"))
    assert nothing.fired(0) == ([], [])
    found = explain(fired_text, fired_text, document_id="d", scale=1.0, n_latents=5, label=str)
    row = next(row for row in found.contributions if row.latent == 2)
    assert (row.query_words, row.query_context, row.fired) == ([], ["lift"], "near lift → near lift")
    assert found.to_json()[0]["query_context"] == ["lift"]


@pytest.mark.parametrize(
    ("text", "pieces", "words"),
    [
        ("机翼如何产生升力", ["机", "翼", "如何", "产生", "升", "力"], ["机翼", "产生", "升力"]),
        ("ปีกสร้างแรงยก", ["▁ปี", "ก", "สร้าง", "แรง", "ยก"], ["ปีก", "สร้าง", "แรง", "ยก"]),
        ("Auftrieb der Flügel", ["▁Auf", "trieb", "▁der", "▁Flüge", "l"], ["Auftrieb", "Flügel"]),
        ("날개는 양력을", ["▁날", "개", "는", "▁양", "력을"], ["날개는", "양력을"]),
    ],
)
def test_pieces_as_xlm_r_has_them_are_shown_as_words(text: str, pieces: list[str], words: list[str]) -> None:
    tokenizer = Tokenizer(
        models.Unigram([("<unk>", -90.0), ("▁", -2.0), *((piece, -1.0) for piece in pieces)], unk_id=0)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    encoding = tokenizer.encode(text)
    assert [token for token in encoding.tokens if token != "▁"] == pieces
    every = np.arange(len(encoding.tokens))
    fired_text = FiredText(
        text, every, np.ones_like(every), every, encoding.offsets, is_content=content_words_in(text, "auto")
    )
    shown = [word for entry in every.tolist() for word in fired_text.fired(entry).words]
    assert list(dict.fromkeys(shown)) == words


def test_what_has_no_width_is_no_part_of_a_word() -> None:
    text = "Wing\u200blift سلام\u200cخواهم"
    assert whole_word(text, 4, 9) == "lift"
    assert whole_word(text, text.index("\u200c"), len(text)) == "خواهم"
