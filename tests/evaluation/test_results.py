from __future__ import annotations

import json
from typing import Any

import pytest

from saelex.errors import InputError
from saelex.evaluation.costs import Costs, Latency
from saelex.evaluation.results import CollectionResult, Comparison, Evaluation, SystemResult

COSTS = Costs(38.5, 401.0, 3.25, 4550.0, Latency(0.5, 0.8, 1.1, 10, "exact", 1, 225), 81.5, None, 2048.0, 0.75, 0.5)


def collection(name: str, values: dict[str, list[float]], costs: Costs | None = None) -> CollectionResult:
    """Systems with values per query under "AP"."""
    systems = []
    for system, of in values.items():
        per_query = {f"q{i}": value for i, value in enumerate(of)}
        run = {query: {"d1": 100.0, "d2": 99.0} for query in per_query}
        systems.append(SystemResult(system, run, {"AP": per_query}, {"AP": sum(of) / len(of)}, costs))
    first, *others = values
    comparisons = [Comparison("AP", one, first, 0.1, 0.2, 0.3, 0.4, 0.5, 2, 1, 0) for one in others]
    n_queries = len(values[first])
    return CollectionResult(name, "test", n_queries, 50, systems, comparisons)


def test_json_gives_the_same_evaluation_again() -> None:
    evaluation = Evaluation(
        [collection("one", {"bm25": [0.5, 0.25]}), collection("two", {"bm25": [1.0], "concepts": [0.5]}, COSTS)],
        {"command": "saelex evaluate one two", "depth": 100},
    )
    text = json.dumps(evaluation.to_json(), allow_nan=False)
    assert Evaluation.from_json(json.loads(text)) == evaluation


def test_means_count_collections_alike_and_only_systems_that_all_have() -> None:
    evaluation = Evaluation(
        [
            collection("small", {"bm25": [1.0], "concepts": [0.5], "extra": [1.0]}),
            collection("large", {"concepts": [0.0, 0.5, 0.25, 0.25], "bm25": [0.5, 0.5, 0.5, 0.5]}),
        ]
    )
    assert evaluation.systems == ["bm25", "concepts"]
    assert evaluation.means() == {"bm25": {"AP": 0.75}, "concepts": {"AP": 0.375}}
    assert evaluation.to_json()["means"] == evaluation.means()
    assert Evaluation([]).means() == {}


def test_results_by_name() -> None:
    result = collection("one", {"bm25": [0.5], "concepts": [0.5]})
    assert result.system("concepts") is result.systems[1]
    assert result.comparison("AP", "concepts", "bm25") is result.comparisons[0]
    assert result.comparison("AP", "bm25", "concepts") is None
    with pytest.raises(InputError, match="one: no system 'dense' was measured; there are bm25, concepts"):
        result.system("dense")


@pytest.mark.parametrize("change", [{"format": "other/1"}, {"format": None}, {"collections": [{"name": "x"}]}])
def test_other_json_is_refused(change: dict[str, Any]) -> None:
    values = Evaluation([collection("one", {"bm25": [0.5]})]).to_json() | change
    with pytest.raises(InputError, match="evaluate again"):
        Evaluation.from_json(values)


def test_damaged_costs_are_refused() -> None:
    values = Evaluation([collection("one", {"bm25": [0.5]}, COSTS)]).to_json()
    values["collections"][0]["systems"][0]["costs"] = ["query_active"]
    with pytest.raises(InputError, match="evaluate again"):
        Evaluation.from_json(values)
