"""The stream of examples: deterministic from any place, in the wanted shares, with every query once a pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.training.examples.files import write_beir, write_jsonl, write_rows

from saelex.errors import InputError
from saelex.training.examples.example import Passage, TrainingQuery
from saelex.training.examples.mixing import MixedExamples, open_examples
from saelex.training.examples.settings import ExampleData, Source


class Numbered:
    """Queries "name 0", "name 1", ... with two positives and four negatives; every third negative has no score."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size

    def __getitem__(self, index: int) -> TrainingQuery:
        name = f"{self.name} {index}"
        negatives = tuple(Passage(f"{name} - {i}", None if i == 3 else -float(i)) for i in range(4))
        return TrainingQuery(name, (Passage(f"{name} + 0", 5.0), Passage(f"{name} + 1")), negatives)

    def facts(self) -> dict[str, Any]:
        return {"made": "up"}


class Flowing:
    """The same without a size, in an order of its own in each pass."""

    def __init__(self, name: str, size: int) -> None:
        self.source = Numbered(name, size)

    def stream(self, seed: int, epoch: int) -> Iterator[TrainingQuery]:
        for place in range(self.source.size):
            yield self.source[(place + seed + epoch) % self.source.size]

    def facts(self) -> dict[str, Any]:
        return {}


def mixed(*sources: Numbered | Flowing, weights: tuple[float, ...] = (), seed: int = 0, **wanted: Any) -> MixedExamples:
    weights = weights or (1.0,) * len(sources)
    needs_scores = wanted.pop("needs_scores", False)
    data = ExampleData(sources=[Source(path="made", weight=weight) for weight in weights], **wanted)
    return MixedExamples(data, list(sources), seed=seed, needs_scores=needs_scores)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    weight=st.floats(0.1, 10),
    seed=st.integers(0, 2**40),
    start=st.integers(0, 60),
    flowing=st.booleans(),
)
def test_a_stream_goes_on_where_it_stopped(
    sizes: list[int], weight: float, seed: int, start: int, flowing: bool
) -> None:
    def stream(start: int) -> Iterator[Any]:
        sources = [Numbered(str(number), size) for number, size in enumerate(sizes)]
        last = [Flowing("flow", 7)] if flowing else []
        weights = (weight, *(1.0,) * (len(sources) + len(last) - 1))
        return mixed(*sources, *last, weights=weights, seed=seed, negatives=2).stream(start)

    assert list(islice(stream(0), start, start + 20)) == list(islice(stream(start), 20))


def test_a_stream_goes_on_far_away() -> None:
    """Beyond one block of drawn sources."""
    examples = mixed(Numbered("a", 1000), Numbered("b", 17), weights=(3, 1))
    assert list(islice(examples.stream(), 5000, 5010)) == list(islice(examples.stream(5000), 10))


def test_sources_come_in_their_shares() -> None:
    sources = [Numbered(name, 50) for name in "abc"]
    n_drawn, shares = 5_000, (0.7, 0.2, 0.1)
    names = Counter(e.query[0] for e in islice(mixed(*sources, weights=(7, 2, 1)).stream(), n_drawn))
    chi_square = sum((names[c] - n_drawn * p) ** 2 / (n_drawn * p) for c, p in zip("abc", shares, strict=True))
    assert chi_square < 13.8  # two degrees of freedom: one seed in a thousand is worse


def test_every_query_once_in_each_pass_and_in_another_order() -> None:
    queries = [example.query for example in islice(mixed(Numbered("a", 30)).stream(), 60)]
    assert len(set(queries[:30])) == len(set(queries[30:])) == 30
    assert queries[:30] != queries[30:]
    assert queries != [example.query for example in islice(mixed(Numbered("a", 30), seed=1).stream(), 60)]


def test_passages_are_drawn_from_all_positives_and_without_doubles_from_the_negatives() -> None:
    positives: Counter[str] = Counter()
    negatives: Counter[str] = Counter()
    for example in islice(mixed(Numbered("a", 1), negatives=3).stream(), 400):
        assert example.relevant == {"a 0 + 0", "a 0 + 1"}
        assert len(set(example.passages)) == 4
        positives[example.passages[0]] += 1
        negatives.update(example.passages[1:])
        unscored = example.passages[0] == "a 0 + 1" or "a 0 - 3" in example.passages
        assert (example.scores is None) == unscored
    assert set(positives) == {"a 0 + 0", "a 0 + 1"}
    assert min(positives.values()) > 150  # 200 +- 10
    assert set(negatives) == {f"a 0 - {i}" for i in range(4)}
    assert min(negatives.values()) > 260  # 300 +- 9


def test_needs_scores_draws_scored_passages_only() -> None:
    for example in islice(mixed(Numbered("a", 3), needs_scores=True, negatives=8).stream(), 20):
        assert example.scores is not None
        assert example.passages[0].endswith("+ 0")
        assert sorted(passage[-3:] for passage in example.passages[1:]) == ["- 0", "- 1", "- 2"]
        assert dict(zip(example.passages, example.scores, strict=True))[f"{example.query} - 2"] == -2.0
        assert len(example.relevant) == 2  # the unscored positive is no negative either


def test_size_is_that_of_all_sources_if_all_know_theirs() -> None:
    assert mixed(Numbered("a", 3), Numbered("b", 4)).size == 7
    assert mixed(Numbered("a", 3), Flowing("b", 4)).size is None


def test_a_stream_without_usable_queries_is_refused() -> None:
    with pytest.raises(InputError, match="made: no query has a positive and a negative with a teacher's score"):
        next(mixed(Flowing("a", 0), needs_scores=True).stream())


def test_a_recipes_sources_are_opened(tmp_path: Path) -> None:
    documents, queries = {"d1": "a river", "d2": "a mountain"}, {"q1": "what flows?"}
    folder = write_beir(tmp_path / "rivers", documents, queries, [("q1", "d1", 1)])
    mined = write_rows(tmp_path / "mined.parquet", [("q1", "d1", True, "qrels", 3.0), ("q1", "d2", False, "bm25", 1.0)])
    lines = write_jsonl(tmp_path / "l.jsonl", [{"query": "what stands?", "positive": "a mountain"}])
    beir = Source(path=str(folder), kind="beir", negatives=str(mined), weight=2)
    data = ExampleData(sources=[beir, Source(path=str(lines), exclude=[str(folder / "corpus.jsonl")])])
    with pytest.raises(InputError, match=r"l\.jsonl: no query has a positive passage"):
        open_examples(data, seed=0, needs_scores=False)
    with pytest.raises(InputError, match=r"l\.jsonl: no query has a positive and a negative with a teacher's score"):
        open_examples(ExampleData(sources=[Source(path=str(lines))]), seed=0, needs_scores=True)

    scored = open_examples(ExampleData(sources=[beir]), seed=0, needs_scores=True)
    assert next(scored.stream()) == ("what flows?", ("a river", "a mountain"), (3.0, 1.0), frozenset({"a river"}), True)
    facts = scored.facts()["sources"][0]
    assert (facts["name"], facts["queries"], facts["weight"]) == ("rivers", 1, 2)
    assert facts["negatives"]["name"] == "mined.parquet"
    assert str(tmp_path) not in str(facts)
    # data.require_scores overrules what the loss needs
    unscored = ExampleData(sources=[Source(path=str(lines))], require_scores=False)
    assert open_examples(unscored, seed=0, needs_scores=True).size == 1


def test_recipes_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match=r"names no data; set data\.sources"):
        open_examples(ExampleData(), seed=0, needs_scores=False)
    with pytest.raises(InputError, match=r"x: the weight -1 is not above 0"):
        open_examples(ExampleData(sources=[Source(path="x", weight=-1)]), seed=0, needs_scores=False)
