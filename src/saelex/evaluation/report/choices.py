"""What a report puts forward: the measure, the system that others are compared with, and the pair that is looked into.

All follow from the evaluation where they are not named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from saelex.errors import InputError
from saelex.evaluation.measures import DEPTH
from saelex.evaluation.results import CollectionResult, Evaluation
from saelex.evaluation.significance import ALPHA

EVALUATION = "evaluation.json"
"""The file beside a report that holds all of the evaluation."""

Test = Literal["randomisation", "t"]
TESTS: dict[Test, str] = {"randomisation": "paired randomisation test", "t": "paired t-test"}


@dataclass(frozen=True)
class ReportOptions:
    """Names to choose; None leaves the choice to the evaluation.

    measure: the first of the evaluation. reference: the evaluation's own, or its first system. pair: the best other
    system, by the mean of the measure, and the reference; an encoder's where there is one, for only that explains hits.
    test, alpha: of the significance marks, Holm-corrected.
    """

    measure: str | None = None
    reference: str | None = None
    pair: tuple[str, str] | None = None
    test: Test = "randomisation"
    alpha: float = ALPHA


@dataclass(frozen=True)
class Choices:
    """`ReportOptions` with everything decided; pair is None where there is one system only."""

    measures: list[str]
    measure: str
    reference: str
    pair: tuple[str, str] | None
    test: Test
    alpha: float


def choices_of(evaluation: Evaluation, options: ReportOptions | None = None) -> Choices:
    """Decide. Raises InputError for an evaluation without results and for names that it does not have."""
    options = options or ReportOptions()
    means = evaluation.means()
    if not means:
        raise InputError("nothing to report: no system was measured on every collection")
    systems, measures = list(means), list(next(iter(means.values())))
    named = [one for one in evaluation.facts.get("measures", ()) if one in measures]
    measures = [*named, *(one for one in measures if one not in named)]
    measure = _known("measure", options.measure or measures[0], measures)
    usual = evaluation.facts.get("reference")
    reference = _known("system", options.reference or (usual if usual in systems else systems[0]), systems)
    others = [one for one in systems if one != reference]
    pair = options.pair
    if pair is not None:
        for name in pair:
            _known("system", name, systems)
    elif others:
        kinds = {name: facts.get("kind") for name, facts in evaluation.facts.get("systems", {}).items()}
        explaining = [one for one in others if kinds.get(one) == "encoder"]
        pair = max(explaining or others, key=lambda name: means[name][measure]), reference
    return Choices(measures, measure, reference, pair, options.test, options.alpha)


def collection_key(result: CollectionResult) -> str:
    """How a collection is named: with its split, where it has one."""
    return f"{result.name}:{result.split}" if result.split else result.name


def depth_of_runs(evaluation: Evaluation) -> int:
    """Documents per query that were measured."""
    return int(evaluation.facts.get("depth", DEPTH))


def _known(kind: str, name: str, known: list[str]) -> str:
    if name not in known:
        raise InputError(f"the evaluation has no {kind} {name!r}; it has {', '.join(known)}")
    return name
