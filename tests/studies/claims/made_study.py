"""A study of the papers' claims that nobody measured: every run alike, but for what a test says of it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from saelex.evaluation.costs import Costs, Latency
from saelex.evaluation.curves import QualityCurve, QualityPoint
from saelex.evaluation.encoded import Measured, TopK
from saelex.training.retrieval.recipe import RetrievalRecipe
from studies.claims.measured import NDCG, PRUNED, STANDARD, WHOLE, MeasuredRun, Study
from studies.claims.runs import Runs
from studies.claims.tokens import TokenUse

RECIPE = Path("recipes/study/claims.yaml")
RUNS = Runs(RECIPE, [], Path("out"))
NEAR, FAR = ["near"], ["far one", "far two"]
EVERY = [*NEAR, *FAR]
QUALITY = 0.5
_WOBBLE = (0.1, -0.1, 0.05, -0.05, 0.2, -0.2, 0.15, -0.15)  # of the queries, the same for all runs
NOISE = (0.3, -0.3, 0.4, -0.4, 0.3, -0.3, 0.4, -0.4)  # that hides any difference from a test

USE = TokenUse(active=8.0, judged=100, identity=0.4, splitting=0.1, synonymy=0.1, spread=0.4, entropy=3.0, max_df=0.2)


def measured(quality: float, qd_flops: float = 3.0) -> Measured:
    return Measured({NDCG: quality}, 30.0, 300.0, qd_flops)


def point(top_k: TopK, quality: float, qd_flops: float) -> QualityPoint:
    return QualityPoint(top_k, measured(quality, qd_flops))


def curve(name: str, *points: QualityPoint) -> QualityCurve:
    """The same points on every collection."""
    return QualityCurve.of(name, {one: list(points) for one in EVERY})


def made_run(
    name: str,
    quality: float | dict[str, float] = QUALITY,
    *,
    pruned: float = 1.0,
    qd_flops: float = 3.0,
    noise: tuple[float, ...] = (),
) -> MeasuredRun:
    """quality: nDCG@10, or that of every collection. pruned: share of it that is left at 40/100.

    noise: added query by query. Without it a difference between two runs is the same on every query, so that p is 0.
    """
    of = quality if isinstance(quality, dict) else dict.fromkeys(EVERY, quality)
    run = MeasuredRun(name, latents_used=0.9, df_gini=0.6, tokens=USE, anisotropy=0.3)
    for cut, share in ((STANDARD, 1.0), (PRUNED, pruned), (WHOLE, 1.0)):
        run.cuts[cut] = {one: measured(value * share, qd_flops) for one, value in of.items()}
    for one, value in of.items():
        values = [value + wobble + extra for wobble, extra in zip(_WOBBLE, noise or [0.0] * len(_WOBBLE))]
        run.per_query[one] = {f"q{i}": value for i, value in enumerate(values)}
    run.curve = curve(name, point((40, 400), QUALITY, qd_flops))
    latency = Latency(p50=0.1, p95=0.2, p99=0.3, k=10, mode="exact", cores=1, queries=8)
    run.costs = Costs(30.0, 300.0, qd_flops, 900.0, latency, None, None, None, 0.9, 0.6)
    return run


def made_study(*runs: MeasuredRun) -> Study:
    """The runs and SAEs that recipes/study/claims.yaml names, all alike; `runs` in place of those of their names."""
    recipe = RUNS.recipe
    names = [run.name for run in recipe.runs]
    assert {run.name for run in runs} <= set(names)
    every = {name: made_run(name) for name in names} | {run.name: run for run in runs}
    baselines = {system: dict.fromkeys(EVERY, 0.4) for system in ("BM25", "dense")}
    facts = {sae.name: {"fvu": 0.2, "dead_share": 0.05, "tokens_per_s": 1000} for sae in recipe.saes}
    made = replace(recipe, in_domain=NEAR, out_of_domain=FAR, languages=[])
    return Study(
        made, {name: recipe_of(name) for name in names}, every, baselines, dict.fromkeys(EVERY, (8, 20)), facts
    )


@cache
def recipe_of(name: str) -> RetrievalRecipe:
    """Of a run of recipes/study/claims.yaml."""
    return RUNS.recipe_of(name)
