from __future__ import annotations

import math
import random
import runpy
import shutil
import sys

import pytest

from saelex.corpus.documents import Qrels, Run
from saelex.errors import InputError
from saelex.evaluation import measures
from saelex.evaluation.measures import depth_of, means_of, measure, measure_queries, read_measures, untied


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


def test_per_query_values_of_any_measures() -> None:
    qrels = {"q1": {"a": 2, "b": 1, "c": 0}, "q2": {"z": 1}, "q3": {"a": 1}}
    run = {"q1": {"c": 3.0, "b": 2.0, "a": 1.0}, "q3": {"a": 1.0}, "unjudged": {"a": 1.0}}
    chosen = read_measures(["P@2", "AP", "AP(rel=2)", "MRR@10", "RR@10"])
    found = measure_queries(qrels, run, chosen)
    assert found == {
        "P@2": pytest.approx({"q1": 0.5, "q2": 0.0, "q3": 0.5}),
        "AP": pytest.approx({"q1": (1 / 2 + 2 / 3) / 2, "q2": 0.0, "q3": 1.0}),
        "AP(rel=2)": pytest.approx({"q1": 1 / 3, "q2": 0.0, "q3": 0.0}),
        "MRR@10": {"q1": 0.5, "q2": 0.0, "q3": 1.0},  # two names of one measure
        "RR@10": {"q1": 0.5, "q2": 0.0, "q3": 1.0},
    }
    assert means_of(found)["MRR@10"] == 0.5


def test_depth_is_that_of_the_deepest_measure() -> None:
    assert [depth_of(read_measures(names)) for names in ([], ["P@5"], ["R@300", "P@5"], ["AP"])] == [
        100,
        100,
        300,
        1000,
    ]
    qrels = {"q": {f"{i:04}": 1 for i in range(1200)}}
    run = {"q": {f"{i:04}": float(2000 - i) for i in range(1200)}}
    found = measure_queries(qrels, run, read_measures(["R@300", "AP"]))
    assert (found["R@300"]["q"], found["AP"]["q"]) == (300 / 1200, pytest.approx(1000 / 1200))


@pytest.mark.parametrize("name", ["nDGC@10", "nDCG@", "nDCG(cutoff='ten')", "P", "nDCG(depth=3)", ""])
def test_measures_that_there_are_not(name: str) -> None:
    with pytest.raises(InputError, match="name measures of ir_measures"):
        read_measures(["nDCG@10", name])


@pytest.mark.skipif(shutil.which("perl") is None, reason="gdeval, which computes ERR, is a script in Perl")
def test_any_ids_are_measured_by_every_program() -> None:
    """gdeval takes "1" for the whole of "a-1", and no letters or blanks at all."""
    qrels = {"a-1": {"d 1": 3, "d-2": 1}, "b-1": {"d-2": 4}, "plain words": {"x": 2}, "7": {"x": 1}}
    run = {"a-1": {"d-2": 9.0, "d 1": 8.0}, "b-1": {"d-2": 1.0}, "plain words": {"y": 2.0, "x": 1.0}}
    found = measure_queries(qrels, run, read_measures(["ERR@10", "nDCG(dcg='exp-log2')@10", "nDCG@10"]))
    stop = {grade: (2**grade - 1) / 16 for grade in range(5)}
    assert found["ERR@10"] == pytest.approx(
        {"a-1": stop[1] + (1 - stop[1]) * stop[3] / 2, "b-1": stop[4], "plain words": stop[2] / 2, "7": 0}, abs=1e-5
    )
    swapped = (1 + 7 / math.log2(3)) / (7 + 1 / math.log2(3))
    wanted = {"a-1": swapped, "b-1": 1, "plain words": 1 / math.log2(3), "7": 0}
    assert found["nDCG(dcg='exp-log2')@10"] == pytest.approx(wanted, abs=1e-5)
    assert found["nDCG@10"]["plain words"] == pytest.approx(1 / math.log2(3))
    with pytest.raises(InputError, match=r"^ERR@5: .* grades up to 4 alone"):
        measure_queries({"q": {"a": 5}}, {"q": {"a": 1.0}}, read_measures(["ERR@5"]))


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(InputError, match=r"pip install 'saelex\[evaluate\]'"):
        runpy.run_path(measures.__file__)


def test_nothing_to_measure_against() -> None:
    with pytest.raises(InputError, match="no relevance judgements"):
        measure({}, {"q": {"a": 1.0}})
