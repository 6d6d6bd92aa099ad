"""What an evaluation found, per query, per system and per collection: all that tables, tests and reports read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from saelex.corpus.documents import Run
from saelex.errors import InputError

if TYPE_CHECKING:
    from saelex.evaluation.costs import Costs

FORMAT = "saelex-evaluation/1"


@dataclass(frozen=True)
class SystemResult:
    """One system on one collection.

    run: the documents that were measured, under the project's rule for ties: see `saelex.selection`.
    per_query: measure -> query id -> value; every judged query is there, one that the system did not answer with 0.
    measures: the means over the queries.
    costs: None for baselines and for run files.
    """

    system: str
    run: Run
    per_query: dict[str, dict[str, float]]
    measures: dict[str, float]
    costs: Costs | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "system": self.system,
            "measures": self.measures,
            "costs": None if self.costs is None else asdict(self.costs),
            "per_query": self.per_query,
            "run": self.run,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SystemResult:
        """What `to_json` gave."""
        return cls(values["system"], values["run"], values["per_query"], values["measures"], _costs(values["costs"]))


@dataclass(frozen=True)
class Comparison:
    """Two systems under one measure on one collection, paired by query.

    difference: mean(first) - mean(second).
    t_p, randomisation_p: two-sided p-values of the paired t-test and of the paired randomisation test.
    t_holm, randomisation_holm: the same, Holm-corrected over the comparisons of this collection and measure.
    wins, losses, ties: queries on which the first system is better, worse, equal.
    """

    measure: str
    first: str
    second: str
    difference: float
    t_p: float
    randomisation_p: float
    t_holm: float
    randomisation_holm: float
    wins: int
    losses: int
    ties: int


@dataclass(frozen=True)
class CollectionResult:
    """Every system on one split of one collection. n_documents: those that hold a text, which are searched."""

    name: str
    split: str
    n_queries: int
    n_documents: int
    systems: list[SystemResult]
    comparisons: list[Comparison]

    def system(self, name: str) -> SystemResult:
        """The result of one system. Raises InputError for one that was not measured."""
        for one in self.systems:
            if one.system == name:
                return one
        known = ", ".join(one.system for one in self.systems)
        raise InputError(f"{self.name}: no system {name!r} was measured; there are {known}")

    def comparison(self, measure: str, first: str, second: str) -> Comparison | None:
        """The comparison of two systems in this order; None if they were not compared."""
        wanted = (measure, first, second)
        return next((one for one in self.comparisons if (one.measure, one.first, one.second) == wanted), None)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "name": self.name,
            "split": self.split,
            "n_queries": self.n_queries,
            "n_documents": self.n_documents,
            "systems": [one.to_json() for one in self.systems],
            "comparisons": [asdict(one) for one in self.comparisons],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> CollectionResult:
        """What `to_json` gave."""
        return cls(
            values["name"],
            values["split"],
            values["n_queries"],
            values["n_documents"],
            [SystemResult.from_json(one) for one in values["systems"]],
            [Comparison(**one) for one in values["comparisons"]],
        )


@dataclass(frozen=True)
class Evaluation:
    """Systems on collections, with what is needed to repeat it.

    facts: JSON values: "command", "date", "versions", "machine", "measures" (names, in the order of tables),
        "reference" (the system that others are compared with), "depth" (documents per query that were measured),
        "language" (of exact words), and "systems": name -> "kind" ("baseline", "run" or "encoder") with what decides
        its run: for an encoder "model", "fingerprint", "top_k" ("40/400"), "words", "settings", "dtype" and "device";
        and "collections": name and split -> "source" and "sha256" of what was read.
    """

    collections: list[CollectionResult]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def systems(self) -> list[str]:
        """Names of the systems that every collection has, in the first one's order."""
        if not self.collections:
            return []
        everywhere = set.intersection(*({one.system for one in each.systems} for each in self.collections))
        return [one.system for one in self.collections[0].systems if one.system in everywhere]

    def means(self) -> dict[str, dict[str, float]]:
        """system -> measure -> mean over the collections, each counting alike, whatever its number of queries."""
        n_collections = len(self.collections)
        found: dict[str, dict[str, float]] = {}
        for system in self.systems:
            rows = [each.system(system).measures for each in self.collections]
            found[system] = {name: sum(row[name] for row in rows) / n_collections for name in rows[0]}
        return found

    def to_json(self) -> dict[str, Any]:
        """As JSON values, runs and per-query values included."""
        return {
            "format": FORMAT,
            "facts": self.facts,
            "means": self.means(),
            "collections": [one.to_json() for one in self.collections],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Evaluation:
        """What `to_json` gave. Raises InputError for anything else."""
        if values.get("format") != FORMAT:
            raise InputError(f"not an evaluation of this version of saelex ({FORMAT}); evaluate again")
        try:
            return cls([CollectionResult.from_json(one) for one in values["collections"]], dict(values["facts"]))
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(f"a damaged evaluation ({error}); evaluate again") from error


def _costs(values: Mapping[str, Any] | None) -> Costs | None:
    if values is None:
        return None
    from saelex.evaluation.costs import Costs

    return Costs.from_json(values)
