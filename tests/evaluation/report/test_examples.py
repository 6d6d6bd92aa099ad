"""Queries behind a difference: chosen, ranked and explained."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from tests.index.fakes import FakeEncoder

from saelex.concepts.explanation import Contribution, Explanation
from saelex.corpus.collection import Collection
from saelex.corpus.documents import Document, Query, Run
from saelex.errors import InputError
from saelex.evaluation.evaluate import index_folder
from saelex.evaluation.report import Examples, gather_examples, index_reasons, indexed_examples, reasons
from saelex.evaluation.results import CollectionResult, Evaluation, SystemResult
from saelex.evaluation.searching import CONCEPTS, WITH_WORDS, Searcher
from saelex.index.index import Index

DOCUMENTS = [
    Document("d0", "Wings create lift when air flows over them.", "Wings"),
    Document("d1", "A bank lends money to those who ask for a loan."),
    Document("d2", "The river floods its banks after a storm " + "and again " * 40),
    Document("d3", "Canoes and sails."),
]
QUERIES = [Query("q0", "what lifts wings"), Query("q1", "river storm"), Query("q2", "money loan"), Query("q3", "sails")]
QRELS = {
    "q0": {"d0": 2, "d1": 0},
    "q1": {"d2": 1, "d0": 1, "gone": 1},
    "q2": {"d1": 1},
    "q3": {"d3": 1},
}
VALUES = {"a": [0.9, 0.1, 0.5, 0.4], "b": [0.2, 0.8, 0.5, 0.3]}
RUNS: dict[str, Run] = {
    "a": {
        "q0": {"d0": 5.0, "d1": 4.0},
        "q1": {"d3": 9.0, "d0": 2.0, "d2": 2.0},
        "q2": {"d1": 1.0},
        "q3": {"d3": 2.0},
    },
    "b": {"q0": {"d1": 7.0, "d0": 7.0, "d3": 9.0}, "q1": {"d2": 3.0}, "q2": {"d1": 1.0}, "q3": {"d0": 1.0, "d3": 0.5}},
}


@pytest.fixture
def collection() -> Collection:
    return Collection("made", "made", "test", QUERIES, QRELS, lambda: iter(DOCUMENTS))


def result_of(first: str = "a", second: str = "b") -> CollectionResult:
    systems = []
    for name, key in ((first, "a"), (second, "b")):
        values = {query.id: value for query, value in zip(QUERIES, VALUES[key])}
        systems.append(SystemResult(name, RUNS[key], {"m": values}, {"m": sum(VALUES[key]) / 4}))
    return CollectionResult("made", "test", 4, 4, systems, [])


def explain(system: str, query: str, document: str) -> Explanation | None:
    if system == "b":
        return None
    return Explanation(query, document, 1.0, [Contribution(1, "label", 1.0)])


def test_largest_gains_and_losses_come_first(collection: Collection) -> None:
    found = gather_examples(result_of(), collection, "m", ("a", "b"))
    assert found.collection == "made:test"
    assert [one.id for one in found.gains] == ["q0", "q3"]  # q2 is a tie
    assert [one.id for one in found.losses] == ["q1"]
    assert [one.id for one in gather_examples(result_of(), collection, "m", ("a", "b"), count=1).gains] == ["q0"]
    turned = gather_examples(result_of(), collection, "m", ("b", "a"))
    assert [one.id for one in turned.losses] == ["q0", "q3"]
    assert (found.gains[0].first, found.gains[0].second, found.gains[0].text) == (0.9, 0.2, "what lifts wings")


def test_ranks_follow_the_rule_for_ties(collection: Collection) -> None:
    found = gather_examples(result_of(), collection, "m", ("a", "b"))
    rows = [(one.id, one.grade, one.first, one.second) for one in found.gains[0].documents]
    assert rows == [("d0", 2, 1, 2), ("d1", 0, 2, 3)]  # d0 and d1 have one score in b
    rows = [(one.id, one.grade, one.first, one.second) for one in found.losses[0].documents]
    assert rows == [("d2", 1, 3, 1), ("d0", 1, 2, None), ("gone", 1, None, None)]
    assert found.losses[0].judged == 3 and found.losses[0].documents[2].text == ""
    long = found.losses[0].documents[0].text
    assert len(long) <= 160 and long.endswith(" …") and DOCUMENTS[2].content.startswith(long[:-2])


def test_explained_are_the_better_document_and_the_wrong_top(collection: Collection) -> None:
    found = gather_examples(result_of(), collection, "m", ("a", "b"), explain=explain)
    assert [(hit.system, hit.id, hit.rank, hit.grade) for hit in found.gains[0].hits] == [("a", "d0", 1, 2)]
    # b leads with d2; a has it at rank 3, below a document that nobody judged
    assert [(hit.system, hit.id, hit.rank, hit.grade) for hit in found.losses[0].hits] == [
        ("a", "d2", 3, 1), ("a", "d3", 1, None),
    ]  # fmt: skip
    assert gather_examples(result_of(), collection, "m", ("a", "b")).gains[0].hits == []
    with pytest.raises(InputError, match="no system 'c'"):
        gather_examples(result_of(), collection, "m", ("a", "c"))


def test_an_index_explains_its_own_systems(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", FakeEncoder()) as index:
        index.add(DOCUMENTS)
        reasons = index_reasons(index, {"x": False, "x+words": True})
        alone, both = (reasons(system, "river storm", "d2") for system in ("x", "x+words"))
        assert alone is not None and both is not None
        hits = {hit.id: hit.score for hit in index.search("river storm", words=False)}
        assert alone.score == hits["d2"] == math.fsum(row.contribution for row in alone.contributions)
        assert both.score > alone.score and {row.label for row in both.contributions} > {"word:river", "word:storm"}
        assert {tuple(row.document_words) for row in alone.contributions} == {("river",), ("storm",)}
        assert reasons("other", "river storm", "d2") is None
        assert reasons("x", "river storm", "d1") is None  # shares no word


def test_examples_out_of_the_indexes_of_an_evaluation(
    collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = FakeEncoder()
    searcher = Searcher(encoder)  # type: ignore[arg-type]
    folder = index_folder(tmp_path, 0, searcher)
    folder.parent.mkdir(parents=True)
    with Index.create(folder, encoder) as index:
        index.add(DOCUMENTS)
    evaluation = Evaluation([result_of(WITH_WORDS, CONCEPTS)], {"reference": CONCEPTS})
    found = indexed_examples(evaluation, [collection], [searcher], tmp_path)
    assert isinstance(found, Examples) and (found.first, found.second, found.measure) == (WITH_WORDS, CONCEPTS, "m")
    hits = found.collections[0].losses[0].hits
    assert [(hit.system, hit.id) for hit in hits] == [(CONCEPTS, "d2"), (WITH_WORDS, "d2")]
    labels = [row.label for row in hits[0].explanation.contributions]
    assert any("river" in label for label in labels)  # derived from the passages themselves
    unlabelled = indexed_examples(evaluation, [collection], [], tmp_path)
    assert unlabelled is not None and unlabelled.collections[0].losses[0].hits == []
    alone = Evaluation([CollectionResult("made", "test", 4, 4, [result_of().systems[0]], [])], {})
    assert indexed_examples(alone, [collection], [searcher], tmp_path) is None
    depths: list[int] = []  # reasons reach as deep as the measures do
    monkeypatch.setattr(reasons, "index_reasons", lambda index, words, depth: depths.append(depth) or (lambda *_: None))
    indexed_examples(replace(evaluation, facts={"depth": 1000}), [collection], [searcher], tmp_path)
    assert depths == [1000]
