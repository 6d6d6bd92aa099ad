from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saelex.concepts.evidence import CONTEXT_SHARE, EvidenceCounter, Terms, as_spans, particularity
from saelex.errors import InputError


def masses(counter: EvidenceCounter, terms: Terms) -> dict[tuple[int, str], float]:
    table, names = counter.table(), terms.names()
    spelt = [
        names[a] if b < 0 else f"{names[a]} {names[b]}" for a, b in zip(table.first.tolist(), table.second.tolist())
    ]
    return dict(zip(zip(table.latents.tolist(), spelt), table.masses.tolist()))


def test_terms_unite_inflections_under_their_usual_spelling() -> None:
    terms = Terms("en")
    tokens = terms.split("Wings, wings and a wing's lift")
    names = [terms.names()[term] for term in tokens.terms.tolist()]
    assert names == ["wings", ",", "wings", "and", "a", "wings", "'", "s", "lift"]
    assert tokens.content.tolist() == [True, False, True, False, False, True, False, False, True]
    assert terms.is_content().tolist() == [True, False, False, False, False, False, True]


def test_token_at_a_span() -> None:
    tokens = Terms("en").split("  the wing-tip  ")
    spans = [(0, 0), (2, 5), (5, 10), (7, 9), (10, 11), (11, 14), (14, 16), (0, 2)]
    assert tokens.at(as_spans(spans)).tolist() == [-1, 0, 1, 1, 2, 3, -1, -1]
    assert Terms("en").split("").at(as_spans([(0, 0), (0, 3)])).tolist() == [-1, -1]


def test_masses_of_word_pairs_and_context() -> None:
    terms = Terms("en")
    counter = EvidenceCounter(10)
    tokens = terms.split("boundary layer of the flow")
    counter.observe(tokens, np.array([3, 7, 5]), np.array([2.0, 1.0, 9.0]), np.array([1, 4, -1]))
    unit = 1.5  # the mean weight of the two firings at a word
    expected = {
        (3, "layer"): 2.0,
        (3, "boundary layer"): 2.0,
        (3, "boundary"): 2.0 * CONTEXT_SHARE,
        (3, "flow"): 2.0 * CONTEXT_SHARE,
        (7, "flow"): 1.0,
        (7, "layer"): 1.0 * CONTEXT_SHARE,
    }
    assert masses(counter, terms) == pytest.approx({key: mass / unit for key, mass in expected.items()})


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), max_size=200))
def test_settling_in_between_changes_nothing(firings: list[tuple[int, int]]) -> None:
    terms = Terms("none")
    tokens = terms.split("a b c d e f g")
    whole, pieces = EvidenceCounter(6), EvidenceCounter(6, capacity=2000)
    for latent, at in firings:
        arguments = (np.array([latent]), np.array([1.0]), np.array([at]))
        whole.observe(tokens, *arguments)
        pieces.observe(tokens, *arguments)
        pieces._settle()
    assert masses(pieces, terms) == pytest.approx(masses(whole, terms))


def test_memory_is_bounded_and_keeps_the_largest() -> None:
    terms = Terms("none")
    words = [f"w{i}" for i in range(300)]
    tokens = terms.split(" , ".join(words))
    counter = EvidenceCounter(2, capacity=40)
    at = np.arange(0, len(tokens.terms), 2)
    counter.observe(tokens, np.zeros(len(at), np.int64), np.arange(len(at)) + 1.0, at)
    kept = masses(counter, terms)
    assert len(kept) == 20
    assert (0, "w298") in kept


def test_particularity_against_the_formula() -> None:
    terms = Terms("none")
    counter = EvidenceCounter(2)
    for text, latent in [("alpha", 0), ("alpha", 0), ("beta", 0), ("beta", 1), ("beta", 1), ("gamma", 1)]:
        counter.observe(terms.split(text), np.array([latent]), np.array([1.0]), np.array([0]))
    table = counter.table()
    scores, log_odds = particularity(table, prior=2.0)
    names = terms.names()
    found = {(int(i), names[int(w)]): (s, o) for i, w, s, o in zip(table.latents, table.first, scores, log_odds)}
    smoothed = (2 + 2 * (2 / 6)) / (3 + 2)
    odds = np.log(smoothed / (2 / 6))
    assert found[0, "alpha"] == pytest.approx((smoothed * odds, odds))
    assert found[1, "gamma"][1] > found[1, "beta"][1] > 0 > found[0, "beta"][1]


def test_too_many_latents_are_refused() -> None:
    with pytest.raises(InputError, match="at most 1048576"):
        EvidenceCounter((1 << 20) + 1)
