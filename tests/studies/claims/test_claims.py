from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from tests.studies.claims.made_study import (
    EVERY,
    FAR,
    NEAR,
    NOISE,
    QUALITY,
    USE,
    curve,
    made_run,
    made_study,
    measured,
    point,
)

from studies.claims.claims import (
    HEADER,
    Claim,
    Figures,
    all_claims,
    cheapest,
    efficiency,
    flops,
    frozen,
    heads,
    joint,
    k_or_lambda,
    layers,
    pruning,
    random_head,
    shown_p,
    tokens,
    translations,
    use,
    widths,
)
from studies.claims.measured import NDCG, PRUNED, STANDARD, MeasuredRun, Study, Translated
from studies.claims.report import markdown, verdict

STOPPED = "step 7: the loss is nan"


def claimed(claim: Callable[[Figures], Claim], *runs: MeasuredRun) -> Claim:
    return claim(Figures(made_study(*runs)))


def stopped_run(name: str) -> MeasuredRun:
    return MeasuredRun(name, STOPPED)


# ---- means and tests ------------------------------------------------------------------------------------------------


def test_quality_is_the_mean_over_collections_at_a_top_k() -> None:
    run = made_run("latents", {"near": 0.8, "far one": 0.2, "far two": 0.5}, pruned=0.5)
    of = Figures(made_study(run))
    assert of.quality("latents", of.near) == pytest.approx(0.8)
    assert of.quality("latents", of.far) == pytest.approx(0.35)
    assert of.quality("latents", of.every) == pytest.approx(0.5)
    assert of.quality("latents", of.every, PRUNED) == pytest.approx(0.25)
    assert of.row("latents", "a name", STANDARD) == ("a name", "0.800", "0.350", "30/300", "3.00")
    assert of.baseline_row("BM25") == ("BM25", "0.400", "0.400", "", "")


def test_p_is_that_of_a_paired_test_over_all_queries_of_the_collections() -> None:
    one = made_run("latents", {"near": 0.8, "far one": 0.52, "far two": 0.58}, noise=NOISE)
    of = Figures(made_study(one))
    values = [
        [value for name in FAR for value in of.run(run).per_query[name].values()] for run in ("latents", "vocabulary")
    ]
    assert of.p("latents", "vocabulary", FAR) == pytest.approx(stats.ttest_rel(*values).pvalue)
    assert shown_p(0.0009) == "< .001"
    assert shown_p(0.0123) == "0.012"


# ---- every rule -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quality", "noise", "holds"),
    [
        (QUALITY, (), True),
        (0.6, (), True),
        (0.49, (), False),
        ({"near": 0.6, "far one": 0.49, "far two": 0.49}, (), False),
        ({"near": 0.49, "far one": 0.6, "far two": 0.6}, (), False),
        (0.49, NOISE, True),  # worse, but by chance
    ],
)
def test_heads(quality: float | dict[str, float], noise: tuple[float, ...], holds: bool) -> None:
    assert claimed(heads, made_run("latents", quality, noise=noise)).holds is holds


def test_heads_show_what_was_measured() -> None:
    claim = claimed(heads, made_run("latents", {"near": 0.6, "far one": 0.45, "far two": 0.5}))
    assert claim.ours.startswith("in-domain +0.100 (p < .001), out-of-domain -0.025 (p ")
    assert [row[0] for row in claim.rows] == ["latents", "vocabulary", "BM25", "dense"]


def test_the_cheapest_is_of_those_that_are_good_enough() -> None:
    points = [
        point((40, 400), 0.60, 4.0),
        point((20, 400), 0.50, 2.0),  # exactly enough
        point((10, 400), 0.55, 2.5),
        point((5, 25), 0.49, 0.5),
    ]
    run = replace(made_run("latents"), curve=curve("latents", *points))
    assert cheapest(run, 0.5) == points[1]
    assert cheapest(run, 0.51) == points[2]
    assert cheapest(run, 0.3) == points[3]
    assert cheapest(run, 0.61) is None


@pytest.mark.parametrize(
    ("points", "holds", "ours"),
    [
        (
            [((40, 400), 0.5, 3.0), ((5, 25), 0.496, 0.5)],
            True,
            "0.25 times the QD-FLOPs",
        ),
        (
            [((40, 400), 0.5, 1.0)],
            True,
            "0.50 times the QD-FLOPs",
        ),
        (
            [((40, 400), 0.5, 1.1), ((5, 25), 0.49, 0.5)],
            False,
            "0.55 times the QD-FLOPs",
        ),
        (
            [((40, 400), 0.49, 0.1)],
            None,
            "that quality is not reached",
        ),
    ],
)
def test_efficiency(points: list[tuple[tuple[int, int], float, float]], holds: bool | None, ours: str) -> None:
    """The vocabulary head has .5 at 40/400, for which 99 % of it at QD-FLOPs 2 is the cheapest."""
    one = replace(made_run("latents"), curve=curve("latents", *(point(*of) for of in points)))
    other = replace(
        made_run("vocabulary"),
        curve=curve("vocabulary", point((40, 400), 0.5, 3.0), point((20, 100), 0.496, 2.0), point((5, 25), 0.4, 1.0)),
    )
    claim = claimed(efficiency, one, other)
    assert (claim.holds, claim.ours) == (holds, f"with FLOPS {ours}, with DF-FLOPS on both 1.00 times the QD-FLOPs")
    assert claim.rows[1] == ("vocabulary", "20/100", "0.496", "2.00", "0.500", "3.00", "900", "0.100 / 0.200")
    assert claim.rows[0][1] == {True: claim.rows[0][1], False: "40/400", None: "none"}[holds]


WIDTHS = {4096: "width-4096", 8192: "width-8192", 16384: "latents", 32768: "width-32768"}


@pytest.mark.parametrize(
    ("quality", "holds"),
    [
        ([0.40, 0.43, 0.45, 0.49], True),
        ([0.49, 0.45, 0.43, 0.40], False),  # a straight line, but falling
        ([0.40, 0.50, 0.39, 0.47], False),  # rising, but no line
        ([0.40, 0.40, 0.40, 0.40], False),
    ],
)
def test_widths_by_slope_and_r2(quality: list[float], holds: bool) -> None:
    claim = claimed(widths, *(made_run(name, value) for name, value in zip(WIDTHS.values(), quality)))
    assert claim.holds is holds
    line = stats.linregress([12, 13, 14, 15], quality)  # over the logarithm to base 2
    assert f"{abs(line.slope):.4f} nDCG@10 a doubling" in claim.ours
    if len(set(quality)) > 1:
        assert claim.ours == f"{line.slope:+.4f} nDCG@10 a doubling, R² {line.rvalue**2:.2f}"
        assert holds is bool(line.slope > 0 and line.rvalue**2 >= 0.8)
    assert [(row[0], row[1]) for row in claim.rows] == [
        (f"{width:,}", f"{value:.3f}") for width, value in zip(WIDTHS, quality)
    ]
    assert claim.rows[0][-2:] == ("0.200", "5%")


@pytest.mark.parametrize(("best", "holds"), [("layer-3", True), ("layer-2", False), ("latents", False)])
def test_layers(best: str, holds: bool) -> None:
    claim = claimed(layers, made_run(best, 0.55))
    assert claim.holds is holds
    number = {"layer-3": 3, "layer-2": 2, "latents": 5}[best]
    assert claim.ours == f"best: layer {number}, block {number + 1} of 6"


@pytest.mark.parametrize(
    ("one", "other", "holds"),
    [(0.99, 0.94, True), (1.01, 1.0, True), (0.97, 0.94, False), (0.99, 0.995, False), (0.99, 0.99, False)],
)
def test_pruning(one: float, other: float, holds: bool) -> None:
    claim = claimed(pruning, made_run("latents", pruned=one), made_run("vocabulary", 0.4, pruned=other))
    assert claim.holds is holds
    assert claim.ours == f"SAE head {one - 1:+.1%}, vocabulary head {other - 1:+.1%}"
    assert [row[0] for row in claim.rows] == [
        f"{name} 40/{k}" for name in ("latents", "vocabulary") for k in (400, 100)
    ]


@pytest.mark.parametrize(
    ("used", "gini", "holds"), [(0.95, 0.5, True), (0.95, 0.7, False), (0.8, 0.5, False), (0.9, 0.6, False)]
)
def test_use(used: float, gini: float, holds: bool) -> None:
    claim = claimed(use, replace(made_run("latents"), latents_used=used, df_gini=gini))  # the other has .9 and .6
    assert claim.holds is holds
    assert claim.rows == [
        ("latents", f"{used:.0%}", f"{gini:.3f}", "20%"),
        ("vocabulary", "90%", "0.600", "20%"),
    ]


@pytest.mark.parametrize(("one", "other", "holds"), [(0.4, 0.4, True), (0.4, 0.6, False), (0.6, 0.4, False)])
def test_flops(one: float, other: float, holds: bool) -> None:
    claim = claimed(flops, made_run("no-flops", one), made_run("vocabulary-no-flops", other))
    assert claim.holds is holds
    assert claim.ours.startswith(f"latents {QUALITY - one:+.3f} with FLOPS (p < .001), vocabulary ")
    assert len(claim.rows) == 8


@pytest.mark.parametrize(
    ("quality", "noise", "holds"), [(0.6, (), True), (QUALITY, (), None), (0.45, (), False), (0.49, NOISE, None)]
)
def test_frozen(quality: float, noise: tuple[float, ...], holds: bool | None) -> None:
    assert claimed(frozen, made_run("frozen", quality, noise=noise)).holds is holds


@pytest.mark.parametrize(
    ("of_k", "of_lambda", "holds"),
    [
        ((0.40, 1.0), (0.45, 2.0), True),
        ((0.45, 1.0), (0.40, 2.0), False),  # k moves costs further, lambda quality
        ((0.40, 2.0), (0.45, 1.0), False),
    ],
)
def test_k_or_lambda(of_k: tuple[float, float], of_lambda: tuple[float, float], holds: bool) -> None:
    low, high = (
        made_run(name, quality, qd_flops=cost) for name, (quality, cost) in (("k-4", of_k), ("lambda-high", of_lambda))
    )
    claim = claimed(k_or_lambda, low, high)
    assert claim.holds is holds
    spreads = ((3 - of_k[1], QUALITY - of_k[0]), (3 - of_lambda[1], QUALITY - of_lambda[0]))
    shown = (f"QD-FLOPs by {cost:.2f}, nDCG@10 by {quality:.3f}" for cost, quality in spreads)
    assert claim.ours == "k moves {}; lambda moves {}".format(*shown)


@pytest.mark.parametrize(
    ("run", "holds"),
    [
        (made_run("random", 0.4), True),
        (made_run("random", 0.49, noise=NOISE), False),  # worse, but by chance
        (made_run("random", 0.6), False),
        (stopped_run("random"), True),
    ],
)
def test_random_head(run: MeasuredRun, holds: bool) -> None:
    claim = claimed(random_head, run)
    assert claim.holds is holds
    assert (claim.ours == STOPPED) is bool(run.stopped)


@pytest.mark.parametrize(
    ("run", "holds"), [(made_run("joint", 0.4), True), (made_run("joint", 0.6), False), (made_run("joint"), None)]
)
def test_joint(run: MeasuredRun, holds: bool | None) -> None:
    claim = claimed(joint, run)
    assert claim.holds is holds
    difference = run.mean(EVERY).measures[NDCG] - QUALITY
    assert claim.ours == f"joint {difference:+.3f} (p {'< .001' if difference else '1.000'})"


@pytest.mark.parametrize(
    ("splitting", "synonymy", "holds", "more"),
    [
        (0.2, 0.2, True, "splitting and synonymy"),
        (0.2, 0.1, False, "splitting"),
        (0.0, 0.2, False, "synonymy"),
        (0.1, 0.1, False, "neither"),
    ],
)
def test_tokens(splitting: float, synonymy: float, holds: bool, more: str) -> None:
    one = replace(made_run("latents"), tokens=replace(USE, splitting=splitting, synonymy=synonymy))
    claim = claimed(tokens, one)
    assert (claim.holds, claim.ours) == (holds, f"more of {more}")


@pytest.mark.parametrize(
    ("overlap", "ndcg", "holds"), [(0.4, 0.5, True), (0.3, 0.5, False), (0.4, 0.3, False), (0.2, 0.2, False)]
)
def test_translations(overlap: float, ndcg: float, holds: bool) -> None:
    """By chance .1 in German and .2 in Russian; the vocabulary head .2 above that, and nDCG@10 .4."""
    chance = {"de": 0.1, "ru": 0.2}
    one, other = made_run("latents"), made_run("vocabulary")
    one.translated = {name: Translated(ndcg, overlap, by) for name, by in chance.items()}
    other.translated = {name: Translated(0.4, by + 0.2, by) for name, by in chance.items()}
    study = made_study(one, other)
    study.recipe = replace(study.recipe, languages=list(chance))
    (claim,) = translations(Figures(study))
    assert claim.holds is holds
    assert claim.ours.startswith(f"overlap above chance {overlap - 0.15:.3f} against 0.200, nDCG@10 {ndcg:.3f} ")
    assert claim.rows[1] == ("ru", f"{overlap:.3f}", "0.200", f"{ndcg:.3f}", "0.400", "0.200", "0.400")
    assert len(claim.header) == len(claim.rows[0])
    assert claim in all_claims(study)


# ---- tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stopped", [(), ("random",), ("latents-df",)])
def test_every_claim_has_its_letter_and_a_table_of_even_rows(stopped: tuple[str, ...]) -> None:
    study: Study = made_study(*map(stopped_run, stopped))
    claims = all_claims(study)
    assert "".join(claim.letter for claim in claims) == "abcdefghijkl"
    for claim in claims:
        assert {len(row) for row in claim.rows} == {len(claim.header)}, claim.title
    lines = list(markdown(study, claims))
    for claim in claims:
        assert f"### ({claim.letter}) {claim.title}" in lines
        assert f"Here: **{verdict(claim)}** ({claim.rule}). {claim.ours[:1].upper()}{claim.ours[1:]}." in lines
    blocks = "\n".join(lines).split("\n\n")
    tables = [block.splitlines() for block in blocks if block.startswith("|")]
    assert len(tables) == len(claims) + 1
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1, table[0]
    assert lines[-1] == f"Queries/documents: {', '.join(f'{name} 8/20' for name in EVERY)}."
    assert all(len(row) == len(HEADER) for row in (Figures(study).row(name) for name in study.runs))


def test_figures_are_over_the_recipes_collections() -> None:
    of = Figures(made_study())
    assert (of.near, of.far, of.every) == (NEAR, FAR, EVERY)
    assert np.isclose(of.quality("latents", EVERY), measured(QUALITY).measures[NDCG])
