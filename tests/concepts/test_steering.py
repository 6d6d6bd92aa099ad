from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from saelex.concepts.concept import Concept
from saelex.concepts.steering import Steering, resolver
from saelex.concepts.store import ConceptStore
from saelex.encoder.words.channel import LexicalChannel
from saelex.errors import InputError
from saelex.vectors import SparseRows

QUERY = SparseRows.build([0, 3], [2, 5, 9], [1.0, 4.0, 2.0], 12, positions=[1, 2, 4])


def test_boost_ban_and_add() -> None:
    steered = Steering(boost={5: 2.5, 7: 3.0}, ban=frozenset({2, 3}), add={9: 0.5, 0: 1.5}).apply(QUERY)
    # 7 is not in the query: three times the median weight of 2; banning the absent 3 changes nothing
    assert steered.to_dicts() == [{0: 1.5, 5: 10.0, 7: 6.0, 9: 0.5}]
    assert steered.positions is not None
    assert steered.positions.tolist() == [-1, 2, -1, 4]
    assert steered.n_latents == 12


def test_a_query_without_latents_can_be_boosted() -> None:
    assert Steering(boost={4: 2.0}).apply(SparseRows.empty(6, rows=1)).to_dicts() == [{4: 2.0}]


def test_nothing_to_do_leaves_the_query_alone() -> None:
    assert not Steering()
    unchanged = Steering().apply(QUERY)
    np.testing.assert_array_equal(unchanged.weights, QUERY.weights)
    np.testing.assert_array_equal(unchanged.latents, QUERY.latents)


def test_parse_names_and_numbers() -> None:
    names = {"aviation": [3, 8], "4": [4], "word:lift": [11], "a=b": [1]}
    steering = Steering.parse(["aviation=2", "4"], ["word:lift"], ["a=b=0.25"], names.__getitem__)
    assert steering == Steering({3: 2.0, 8: 2.0, 4: 2.0}, frozenset({11}), {1: 0.25})
    assert steering.notes == {3: "boost x2", 8: "boost x2", 4: "boost x2", 1: "added at 0.25"}


@pytest.mark.parametrize(
    ("boost", "ban", "add", "message"),
    [
        (["4=much"], [], [], "NAME=NUMBER"),
        ([], [], ["4"], "NAME=NUMBER"),
        (["4=0"], [], [], "to leave it out, ban it"),
        (["4=nan"], [], [], "not a positive number"),
        (["4=2"], ["4"], [], "latent 4 is named in more than one"),
        (["4=2"], [], ["4=1"], "latent 4 is named in more than one"),
    ],
)
def test_parse_names_what_is_wrong(boost: list[str], ban: list[str], add: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Steering.parse(boost, ban, add, lambda name: [int(name)])


def test_latents_outside_the_query_are_refused() -> None:
    with pytest.raises(InputError, match="no latent 12; they run from 0 to 11"):
        Steering(ban=frozenset({12})).apply(QUERY)
    with pytest.raises(InputError, match="one query at a time"):
        Steering().apply(SparseRows.empty(12, rows=2))


def test_resolver_knows_ids_labels_and_words(tmp_path: Path) -> None:
    concept = Concept(7, "aviation · aircraft", (), (), 0.1, 1.0)
    words = LexicalChannel().fit(["lift and drag"])
    with ConceptStore.write(tmp_path / "concepts.sqlite", [concept], fingerprint="f") as concepts:
        resolve = resolver(100, concepts, words)
        assert resolve("42") == resolve("#42") == resolve(" latent 42 ") == [42]
        assert resolve("'aviation · aircraft'") == [7]
        assert resolve("aviation") == [7]
        assert resolve("word:Lifts") == [100 + words.find("lift")[0]]
        for name, message in [
            ("100", "no latent 100"),
            ("9" * 5000, "no latent 999"),
            ("word:wing", "no document has it"),
            ("music", "no concept"),
            (" ", "an empty name"),
            ('"42"', "no concept is labelled '42'"),
        ]:
            with pytest.raises(InputError, match=message):
                resolve(name)
    with pytest.raises(InputError, match="no labels"):
        resolver(100)("aviation")
    with pytest.raises(InputError, match="made without words"):
        resolver(100)("word:lift")
