from __future__ import annotations

import math
import random

import pytest

from saelex.corpus.documents import Qrels, Run
from saelex.errors import InputError
from saelex.evaluation.measures import mean, measure, untied


def by_hand(qrels: Qrels, run: Run) -> dict[str, float]:
    """The three measures as their definitions say, under the documented rule for ties."""
    totals = {"nDCG@10": 0.0, "MRR@10": 0.0, "R@100": 0.0}
    for query, grades in qrels.items():
        ranking = [name for name, _ in sorted(run.get(query, {}).items(), key=lambda entry: (-entry[1], entry[0]))]
        gains = [max(0, grades.get(name, 0)) for name in ranking]
        ideal = sorted((grade for grade in grades.values() if grade > 0), reverse=True)
        discounted = [sum(gain / math.log2(i + 2) for i, gain in enumerate(each[:10])) for each in (gains, ideal)]
        totals["nDCG@10"] += discounted[0] / discounted[1] if discounted[1] else 0.0
        totals["MRR@10"] += next((1 / (i + 1) for i, gain in enumerate(gains[:10]) if gain), 0.0)
        totals["R@100"] += sum(gain > 0 for gain in gains[:100]) / len(ideal) if ideal else 0.0
    return {name: total / len(qrels) for name, total in totals.items()}


@pytest.mark.parametrize("seed", range(5))
def test_measures_with_many_ties_equal_their_definitions(seed: int) -> None:
    chance = random.Random(seed)
    names = [str(i) for i in range(150)]
    qrels = {str(q): {name: chance.choice([0, 1, 1, 3]) for name in chance.sample(names, 12)} for q in range(20)}
    for grades in qrels.values():
        grades[names[0]] = 2  # at least one relevant document
    run = {
        query: {name: float(chance.randrange(4)) for name in chance.sample(names, 130)}
        for query in qrels
        if query != "7"  # unanswered: counts as 0
    }
    assert measure(qrels, run) == pytest.approx(by_hand(qrels, run), abs=1e-9)


def test_ties_go_to_the_smaller_id_in_every_measure() -> None:
    run = {"q": {"b": 1.0, "a": 1.0}}
    assert measure({"q": {"a": 1}}, run) == {"nDCG@10": 1.0, "MRR@10": 1.0, "R@100": 1.0}
    assert measure({"q": {"b": 1}}, run) == {"nDCG@10": pytest.approx(1 / math.log2(3)), "MRR@10": 0.5, "R@100": 1.0}


def test_untied_keeps_the_order_and_the_depth() -> None:
    assert untied({"q": {"c": 0.5, "b": 0.5, "a": -1.0, "d": 9.0}}, depth=3) == {"q": {"d": 3.0, "b": 2.0, "c": 1.0}}


def test_mean_weighs_collections_equally() -> None:
    rows = [{"nDCG@10": 0.2, "MRR@10": 0.0, "R@100": 1.0}, {"nDCG@10": 0.4, "MRR@10": 1.0, "R@100": 1.0}]
    assert mean(rows) == pytest.approx({"nDCG@10": 0.3, "MRR@10": 0.5, "R@100": 1.0})


def test_nothing_to_measure_against() -> None:
    with pytest.raises(InputError, match="no relevance judgements"):
        measure({}, {"q": {"a": 1.0}})
