"""The claims, each with the paper's figure, ours, and whether it holds here by a rule that is stated with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from saelex.evaluation.curves import QualityPoint
from saelex.evaluation.encoded import Measured, TopK
from saelex.evaluation.significance import paired_t_test
from studies.claims.measured import NDCG, PRUNED, STANDARD, WHOLE, MeasuredRun, Study

ALPHA = 0.05
_NEAR = 0.99  # of the other's quality counts as equal quality


@dataclass(frozen=True)
class Claim:
    """One claim. paper: its figure, "second-hand" where the paper itself was not to be had. rule: when it holds."""

    letter: str
    title: str
    paper: str
    rule: str
    holds: bool | None
    ours: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


class Figures:
    """Means and tests over the study's collections."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.near, self.far = study.recipe.in_domain, study.recipe.out_of_domain
        self.roles = study.recipe.roles

    @property
    def every(self) -> list[str]:
        return [*self.near, *self.far]

    def run(self, name: str) -> MeasuredRun:
        return self.study.runs[name]

    def quality(self, name: str, names: Sequence[str], cut: TopK = STANDARD) -> float:
        """0 of a run that its guards stopped: it has no model."""
        return 0.0 if self.run(name).stopped else self.run(name).mean(list(names), cut).measures[NDCG]

    def qd_flops(self, name: str) -> float:
        """At 40/400, over all collections."""
        return 0.0 if self.run(name).stopped else self.run(name).mean(self.every).qd_flops or 0.0

    def p(self, first: str, second: str, names: Sequence[str]) -> float:
        """Paired t-test over all queries of these collections; 0 where a run was stopped."""
        if self.run(first).stopped or self.run(second).stopped:
            return 0.0
        one, other = (
            [value for name in names for value in self.run(run).per_query[name].values()] for run in (first, second)
        )
        return paired_t_test(one, other)

    def against_base(self, name: str) -> tuple[float, float]:
        """A run's quality less that of `roles.sae`, over all collections, and the p-value of that."""
        base = self.roles.sae
        return self.quality(name, self.every) - self.quality(base, self.every), self.p(name, base, self.every)

    def row(self, name: str, label: str = "", cut: TopK = STANDARD) -> tuple[str, ...]:
        """A run's line under HEADER."""
        run, label = self.run(name), label or name
        if run.stopped:
            return (label, "stopped", "", "", "")
        return (label, *measured_cells(run.mean(self.near, cut), run.mean(self.far, cut), run.mean(self.every, cut)))

    def baseline_row(self, name: str) -> tuple[str, ...]:
        values = self.study.baselines[name]
        near, far = (float(np.mean([values[one] for one in names])) for names in (self.near, self.far))
        return (name, f"{near:.3f}", f"{far:.3f}", "", "")


HEADER = ("run", "in-domain", "out-of-domain", "active q/d", "QD-FLOPs")


def measured_cells(near: Measured, far: Measured, every: Measured) -> tuple[str, ...]:
    active = f"{every.query_active:.0f}/{every.document_active:.0f}"
    return (f"{near.measures[NDCG]:.3f}", f"{far.measures[NDCG]:.3f}", active, f"{every.qd_flops:.2f}")


def all_claims(study: Study) -> list[Claim]:
    """(a) to (m); a claim about a run that its guards stopped says so."""
    figures = Figures(study)
    return [
        heads(figures), efficiency(figures), widths(figures), layers(figures), pruning(figures), use(figures),
        flops(figures), frozen(figures), k_or_lambda(figures), random_head(figures), joint(figures), tokens(figures),
        *translations(figures),
    ]  # fmt: skip


def heads(of: Figures) -> Claim:
    sae, vocabulary = of.roles.heads
    near, far = (of.quality(sae, names) - of.quality(vocabulary, names) for names in (of.near, of.far))
    ps = of.p(sae, vocabulary, of.near), of.p(sae, vocabulary, of.far)
    return Claim(
        "a", "SAE head against vocabulary head at equal budget",
        "SPLARE, English training: BEIR-13 50.2 against 50.0, MS MARCO 40.8 against 40.0. SAE-SPLADE: comparable "
        "in- and out-of-domain (abstract); MS MARCO 37.6, BEIR-13 49.2 (second-hand)",
        f"nowhere worse with p < {ALPHA} (paired t-test over all queries)",
        all(difference >= 0 or p >= ALPHA for difference, p in zip((near, far), ps)),
        f"in-domain {near:+.3f} (p {shown_p(ps[0])}), out-of-domain {far:+.3f} (p {shown_p(ps[1])})",
        HEADER,
        [of.row(sae), of.row(vocabulary), *(of.baseline_row(name) for name in of.study.baselines)],
    )  # fmt: skip


def efficiency(of: Figures) -> Claim:
    wanted = _NEAR * of.quality(of.roles.vocabulary, of.every)
    compared = of.roles.compared
    best = {name: cheapest(of.run(name), wanted) for name in compared}
    ratio, with_df = (_ratio(best[one], best[other]) for one, other in (compared[:2], compared[2:]))
    return Claim(
        "b", "Efficiency at equal quality",
        "SAE-SPLADE: QD-FLOPs 2.2 times lower than SPLADE's with a negligible loss (second-hand)",
        "with FLOPS at most half of the QD-FLOPs, each at the cheapest Top-K that reaches 99 % of the vocabulary "
        "head's nDCG@10 at 40/400",
        None if ratio is None else ratio <= 0.5,
        f"with FLOPS {_times(ratio)}, with DF-FLOPS on both {_times(with_df)}",
        ("run", "Top-K", "nDCG@10", "QD-FLOPs", "at 40/400: nDCG@10", "QD-FLOPs", "postings a query", "p50 / p95, ms"),
        [tuple(line) for line in _efficiency_rows(of, best)],
    )  # fmt: skip


def _ratio(one: QualityPoint | None, other: QualityPoint | None) -> float | None:
    if one is None or other is None or not other.measured.qd_flops:
        return None
    return (one.measured.qd_flops or 0.0) / other.measured.qd_flops


def _times(ratio: float | None) -> str:
    return "that quality is not reached" if ratio is None else f"{ratio:.2f} times the QD-FLOPs"


def _efficiency_rows(of: Figures, best: dict[str, QualityPoint | None]) -> Iterator[tuple[str, ...]]:
    for name, point in best.items():
        costs = of.run(name).costs
        if costs is None or costs.latency_ms is None:
            yield (name, "stopped", *[""] * 6)
            continue
        chosen = ("none", "", "") if point is None else (
            shown_cut(point.top_k), f"{point.measured.measures[NDCG]:.3f}", f"{point.measured.qd_flops:.2f}"
        )  # fmt: skip
        standard = f"{of.quality(name, of.every):.3f}", f"{of.qd_flops(name):.2f}"
        latency = f"{costs.latency_ms.p50:.3f} / {costs.latency_ms.p95:.3f}"
        yield (name, *chosen, *standard, f"{costs.postings:,.0f}", latency)


def cheapest(run: MeasuredRun, wanted: float) -> QualityPoint | None:
    """The Top-K of fewest QD-FLOPs with at least this quality, means over the collections; None: there is none."""
    points = run.curve.points if run.curve else []
    enough = [point for point in points if point.measured.measures[NDCG] >= wanted]
    return min(enough, key=lambda point: point.measured.qd_flops or 0.0, default=None)


def widths(of: Figures) -> Claim:
    names = of.roles.widths
    quality, saes = [of.quality(name, of.every) for name in names], [of.study.sae(name) for name in names]
    doublings = np.log2([sae.width for sae in saes])
    slope, intercept = np.polyfit(doublings, quality, 1)
    error = np.asarray(quality) - (slope * doublings + intercept)
    spread = float(np.var(quality)) * len(quality)
    r2 = 1 - float((error**2).sum()) / spread if spread > 1e-12 else 0.0  # all alike: no line explains anything
    facts = [of.study.sae_facts[sae.name] for sae in saes]
    return Claim(
        "c", "Quality against SAE width",
        "SPLARE: roughly log-linear gain from 2^14 to 2^20 (figure only); SAE-SPLADE tested 2^15 to 2^17, kept 2^16",
        "a rising straight line over the logarithm of the width, R² at least .8",
        bool(slope > 0 and r2 >= 0.8),
        f"{slope:+.4f} nDCG@10 a doubling, R² {r2:.2f}",
        (*HEADER, "SAE's FVU", "dead"),
        [
            (*of.row(name, f"{sae.width:,}"), f"{fact['fvu']:.3f}", f"{fact['dead_share']:.0%}")
            for name, sae, fact in zip(names, saes, facts)
        ],
    )  # fmt: skip


def layers(of: Figures) -> Claim:
    runs, blocks = {of.study.sae(name).layer: name for name in of.roles.layers}, of.study.recipe.blocks
    quality = {layer: of.quality(name, of.every) for layer, name in runs.items()}
    best, deep = max(quality, key=quality.__getitem__), round(2 * blocks / 3)
    return Claim(
        "d", "Layer depth",
        "SPLARE: best near two thirds of the depth (layer 20 of 32, 16 of 26), flat nearby; early layers strong",
        f"block {deep} of {blocks} (layer {deep - 1}, two thirds) is best",
        best == deep - 1,
        f"best: layer {best}, block {best + 1} of {blocks}",
        HEADER,
        [of.row(name, f"layer {layer} (block {layer + 1} of {blocks})") for layer, name in runs.items()],
    )  # fmt: skip


def pruning(of: Figures) -> Claim:
    sae, vocabulary = of.roles.heads
    loss = {name: of.quality(name, of.every, PRUNED) / of.quality(name, of.every) - 1 for name in of.roles.heads}
    return Claim(
        "e", "Passages pruned to their top 100",
        "SPLARE -2 %, SPLADE-Llama more than -6 % (queries at 40)",
        "the SAE head loses at most 2 %, and less than the vocabulary head",
        loss[sae] >= -0.02 and loss[sae] > loss[vocabulary],
        f"SAE head {loss[sae]:+.1%}, vocabulary head {loss[vocabulary]:+.1%}",
        HEADER,
        [of.row(name, f"{name} {shown_cut(cut)}", cut) for name in loss for cut in (STANDARD, PRUNED)],
    )  # fmt: skip


def use(of: Figures) -> Claim:
    one, other = map(of.run, of.roles.heads)
    return Claim(
        "f", "Use of the latents",
        "SPLARE uses nearly all of its 131 k, evenly; SPLADE fewer than 100 k of 128 k, some too often (figure)",
        "a larger share used, and a smaller Gini coefficient of document frequencies",
        one.latents_used > other.latents_used and one.df_gini < other.df_gini,
        f"used {one.latents_used:.0%} against {other.latents_used:.0%}, "
        f"Gini {one.df_gini:.2f} against {other.df_gini:.2f}",
        ("run", "latents used", "Gini of document frequency", "largest document frequency"),
        [
            (run.name, f"{run.latents_used:.0%}", f"{run.df_gini:.3f}", f"{run.tokens.max_df:.0%}")
            for run in (one, other)
            if run.tokens is not None
        ],
    )  # fmt: skip


def flops(of: Figures) -> Claim:
    pairs = tuple(zip(of.roles.heads, (of.roles.sae_no_flops, of.roles.vocabulary_no_flops)))
    differences = [of.quality(one, of.every) - of.quality(other, of.every) for one, other in pairs]
    return Claim(
        "g", "Top-K with and without FLOPS",
        "SPLARE: Top-K in place of the regulariser is worse; both together are used",
        "with FLOPS better at Top-K 40/400, for both heads",
        min(differences) > 0,
        ", ".join(f"{one} {value:+.3f} with FLOPS (p {shown_p(of.p(one, other, of.every))})"
                  for (one, other), value in zip(pairs, differences)),
        HEADER,
        [of.row(name, f"{name} {shown_cut(cut)}", cut) for pair in pairs for name in pair for cut in (STANDARD, WHOLE)],
    )  # fmt: skip


def frozen(of: Figures) -> Claim:
    difference, p = of.against_base(of.roles.frozen)
    return Claim(
        "h", "Frozen against tuned SAE",
        "SPLARE: frozen is better and simpler (preliminary, without figures); SAE-SPLADE tunes the encoder",
        f"frozen is better with p < {ALPHA}; undecided at larger p",
        decided(difference, p),
        f"frozen {difference:+.3f} (p {shown_p(p)})",
        HEADER,
        [of.row(of.roles.frozen), of.row(of.roles.sae, f"{of.roles.sae} (tuned)")],
    )  # fmt: skip


def k_or_lambda(of: Figures) -> Claim:
    settings = of.study.settings
    k = {name: settings[name].model.token_k or 0 for name in of.roles.ks}
    strength = {name: settings[name].sparsity.document for name in of.roles.lambdas}
    labels = {name: f"lambda {value:g}" for name, value in strength.items()}
    labels = {name: f"k {value}" for name, value in k.items()} | labels
    labels[of.roles.sae] = f"k {k[of.roles.sae]}, lambda {strength[of.roles.sae]:g}"
    spread = {
        kind: (_spread([of.qd_flops(name) for name in names]),
               _spread([of.quality(name, of.every) for name in names]))
        for kind, names in (("k", of.roles.ks), ("lambda", of.roles.lambdas))
    }  # fmt: skip
    factors = [round(max(values) / min(values)) for values in (list(k.values()), list(strength.values()))]
    return Claim(
        "i", "TopK k against FLOPS strength",
        "SAE-SPLADE: k, not lambda, sets the frontier of quality and cost (second-hand)",
        "a factor {} in k moves both QD-FLOPs and nDCG@10 further than a factor {} in lambda".format(*factors),
        spread["k"][0] > spread["lambda"][0] and spread["k"][1] > spread["lambda"][1],
        "; ".join(f"{kind} moves QD-FLOPs by {cost:.2f}, nDCG@10 by {quality:.3f}"
                  for kind, (cost, quality) in spread.items()),
        HEADER,
        [of.row(name, label) for name, label in labels.items()],
    )  # fmt: skip


def _spread(values: Sequence[float]) -> float:
    return max(values) - min(values)


def random_head(of: Figures) -> Claim:
    stopped = of.run(of.roles.random).stopped
    difference, p = of.against_base(of.roles.random)
    return Claim(
        "j", "A head drawn at random",
        "SPLARE: a head from scratch is much worse or does not converge; SAE-SPLADE: an ablation (no figures)",
        f"worse with p < {ALPHA}, or stopped by a guard",
        difference < 0 and p < ALPHA,
        stopped or f"random {difference:+.3f} (p {shown_p(p)})",
        HEADER,
        [of.row(of.roles.random), of.row(of.roles.sae, f"{of.roles.sae} (SAE trained first)")],
    )  # fmt: skip


def joint(of: Figures) -> Claim:
    difference, p = of.against_base(of.roles.joint)
    return Claim(
        "k", "Reconstruction and retrieval jointly against two stages",
        "SAE-SPLADE: a reconstruction loss beside retrieval hurts; two stages win (second-hand)",
        f"the SAE's reconstruction error in the second stage's loss hurts with p < {ALPHA}; undecided at larger p",
        decided(-difference, p),
        f"joint {difference:+.3f} (p {shown_p(p)})",
        HEADER,
        [of.row(of.roles.joint), of.row(of.roles.sae, f"{of.roles.sae} (two stages)")],
    )  # fmt: skip


def tokens(of: Figures) -> Claim:
    rows, found = [], []
    for name in of.roles.heads:
        run = of.run(name)
        assert run.tokens is not None
        use = run.tokens
        found.append(use)
        kinds = (f"{share:.0%}" for share in (use.identity, use.splitting, use.synonymy, use.spread))
        rows.append(
            (name, f"{use.active:.1f}", f"{use.judged:,}", *kinds, f"{use.entropy:.2f}", f"{run.anisotropy:.2f}")
        )
    more = [kind for kind in ("splitting", "synonymy")
            if getattr(found[0], kind) > getattr(found[1], kind)]  # fmt: skip
    return Claim(
        "l", "Synonymy and polysemy, by P(token | latent) and P(latent | token)",
        "SAE-SPLADE: latents join synonyms and split senses, by co-occurrence thresholds that its authors call not "
        "conclusive; anisotropy goes with less efficient codes (second-hand)",
        "more latents that split a token's senses, and more that join tokens, than of the vocabulary head",
        len(more) == 2,
        f"more of {' and '.join(more) or 'neither'}",
        ("run", "latents a token", "judged", "identity", "splitting", "synonymy", "spread", "entropy", "anisotropy"),
        rows,
    )  # fmt: skip


def translations(of: Figures) -> Iterator[Claim]:
    """Only where the study has translations."""
    languages = of.study.recipe.languages
    if not languages:
        return
    sae, vocabulary = of.roles.heads
    found = {name: of.run(name).translated for name in of.roles.heads}
    lift = {
        name: float(np.mean([values[one].overlap - values[one].chance for one in languages]))
        for name, values in found.items()
    }
    ndcg = {name: float(np.mean([values[one].ndcg for one in languages])) for name, values in found.items()}
    yield Claim(
        "m", "Across languages",
        "SAE-SPLADE: translations share more latents than tokens (second-hand). SPLARE: XTREME-UP MRR@10 42.6 against "
        "30.5 after English training",
        "translations share more above chance, and English queries find more, than with the vocabulary head",
        lift[sae] > lift[vocabulary] and ndcg[sae] > ndcg[vocabulary],
        f"overlap above chance {lift[sae]:.3f} against {lift[vocabulary]:.3f}, nDCG@10 {ndcg[sae]:.3f} "
        f"against {ndcg[vocabulary]:.3f}",
        ("passages in", *(f"{name}: {what}" for name in found for what in ("overlap", "by chance", "nDCG@10"))),
        [
            (language, *(f"{value:.3f}" for values in found.values()
                         for value in (values[language].overlap, values[language].chance, values[language].ndcg)))
            for language in languages
        ],
    )  # fmt: skip


def decided(difference: float, p: float) -> bool | None:
    """Whether a difference is there, or its opposite; None where it may be chance."""
    return difference > 0 if p < ALPHA and difference else None


def shown_p(p: float) -> str:
    return "< .001" if p < 0.001 else f"{p:.3f}"


def shown_cut(cut: TopK) -> str:
    return "/".join(str(k or "all") for k in cut)
