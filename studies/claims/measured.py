"""What is measured of the study's models: quality and cost at several Top-K, use of latents, tokens, translations."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from saelex.corpus.opening import named_split, read_collection
from saelex.encoder.dense.embedder import load_embedder
from saelex.encoder.encoder import Encoder
from saelex.evaluation.costs import Costs, measure_costs
from saelex.evaluation.curves import QualityCurve, top_k_grid
from saelex.evaluation.efficiency import activation_shares, gini
from saelex.evaluation.encoded import (
    EncodedCollection,
    JudgedDocuments,
    Measured,
    TopK,
    baseline_runs,
    mean_measured,
)
from saelex.evaluation.languages.latents import jaccard
from saelex.evaluation.measures import measure, measure_queries
from saelex.evaluation.vectors_cache import VectorsCache
from saelex.training.retrieval.recipe import RetrievalRecipe
from saelex.vectors import SparseRows
from studies.claims.runs import ClaimsRecipe, Runs, StudySae
from studies.claims.tokens import TokenUse, anisotropy, token_use
from studies.samples import judged_sample

NDCG = "nDCG@10"
STANDARD: TopK = (40, 400)
PRUNED: TopK = (40, 100)
WHOLE: TopK = (None, None)
_QUERY_CUTS = [5, 10, 20, 40, None]
_DOCUMENT_CUTS = [25, 50, 100, 200, 400, None]
_TOKEN_TEXTS = 300  # passages whose tokens are looked at


@dataclass
class Translated:
    """One language: English queries over its passages, and how much a passage shares with its translation.

    overlap, chance: mean share of the active latents of an English passage and one in the language that both have
    (Jaccard), of translations of each other and of other pairs.
    """

    ndcg: float
    overlap: float
    chance: float


@dataclass
class MeasuredRun:
    """One run. cuts: Top-K -> collection -> what came of it."""

    name: str
    stopped: str = ""
    cuts: dict[TopK, dict[str, Measured]] = field(default_factory=dict)
    per_query: dict[str, dict[str, float]] = field(default_factory=dict)  # collection -> query id -> nDCG@10, STANDARD
    latents_used: float = 0.0
    df_gini: float = 0.0
    curve: QualityCurve | None = None
    costs: Costs | None = None
    tokens: TokenUse | None = None
    anisotropy: float = 0.0
    translated: dict[str, Translated] = field(default_factory=dict)

    def mean(self, names: list[str], cut: TopK = STANDARD) -> Measured:
        """Over these collections, each counting alike."""
        return mean_measured([self.cuts[cut][name] for name in names])


@dataclass
class Study:
    """Everything measured.

    settings: the recipe of every run. baselines: nDCG@10 of BM25, the dense backbone and their fusion, by collection.
    """

    recipe: ClaimsRecipe
    settings: dict[str, RetrievalRecipe]
    runs: dict[str, MeasuredRun]
    baselines: dict[str, dict[str, float]]
    sizes: dict[str, tuple[int, int]]  # collection -> queries, documents
    sae_facts: dict[str, dict[str, Any]]

    def sae(self, name: str) -> StudySae:
        """The SAE that a run starts from."""
        wanted = Path(self.settings[name].model.sae).name
        return next(sae for sae in self.recipe.saes if sae.name == wanted)


def measure_runs(runs: Runs) -> Study:
    """All of the study's runs, some of them in more ways than the others."""
    recipe, cache = runs.recipe, VectorsCache(runs.output / "vectors")
    samples = {
        name: judged_sample(read_collection(*named_split(name)), recipe.queries, recipe.documents)
        for name in (*recipe.in_domain, *recipe.out_of_domain)
    }
    embedder = load_embedder(recipe.sae.model)
    baselines: dict[str, dict[str, float]] = {}
    for name, judged in samples.items():
        for system, run in baseline_runs(judged, embedder, cache).items():
            baselines.setdefault(system, {})[name] = measure(judged.collection.qrels, run)[NDCG]
    found = {}
    for name in tqdm(runs.named, desc="runs", unit="run"):
        found[name] = MeasuredRun(name, runs.why_stopped(name))
        if not found[name].stopped:
            _measure(found[name], runs.encoder(name), samples, recipe, cache)
    sizes = {name: (len(judged.questions), len(judged.documents)) for name, judged in samples.items()}
    settings = {name: runs.recipe_of(name) for name in runs.named}
    return Study(recipe, settings, found, baselines, sizes, runs.sae_facts())


def _measure(
    run: MeasuredRun, encoder: Encoder, samples: dict[str, JudgedDocuments], recipe: ClaimsRecipe, cache: VectorsCache
) -> None:
    encoded = {name: EncodedCollection.encode(encoder, judged, cache) for name, judged in samples.items()}
    for cut in (STANDARD, PRUNED, WHOLE):
        run.cuts[cut] = {name: one.measured(cut) for name, one in encoded.items()}
    for name, one in encoded.items():
        run.per_query[name] = _ndcg_per_query(one)
    passages = SparseRows.concatenate([one.passages for one in encoded.values()])
    shares = activation_shares(passages)
    run.latents_used, run.df_gini = float(np.mean(shares > 0)), gini(shares)
    if run.name in recipe.roles.compared:
        _measure_costs(run, encoded, passages)
    if run.name in recipe.roles.heads:
        _measure_tokens(run, encoder, samples, recipe, cache)


def _measure_costs(run: MeasuredRun, encoded: dict[str, EncodedCollection], passages: SparseRows) -> None:
    run.curve = QualityCurve.of(
        run.name, {name: top_k_grid(one, _QUERY_CUTS, _DOCUMENT_CUTS) for name, one in encoded.items()}
    )
    queries = SparseRows.concatenate([one.queries for one in encoded.values()]).top_k(STANDARD[0])
    run.costs = measure_costs(queries, passages.top_k(STANDARD[1]))


def _measure_tokens(
    run: MeasuredRun, encoder: Encoder, samples: dict[str, JudgedDocuments], recipe: ClaimsRecipe, cache: VectorsCache
) -> None:
    texts = [document.content for judged in samples.values() for document in judged.documents]
    texts = random.Random(0).sample(texts, min(_TOKEN_TEXTS, len(texts)))
    run.tokens, run.anisotropy = token_use(encoder, texts), anisotropy(encoder, texts)
    for language in recipe.languages:
        run.translated[language] = _translated(encoder, Path(recipe.translations), language, recipe, cache)


def _ndcg_per_query(encoded: EncodedCollection) -> dict[str, float]:
    return measure_queries(encoded.judged.collection.qrels, encoded.run(*encoded.vectors(STANDARD)))[NDCG]


def _translated(encoder: Encoder, folder: Path, language: str, recipe: ClaimsRecipe, cache: VectorsCache) -> Translated:
    sides = {}
    for name in ("en", language):
        collection = read_collection(f"{folder / 'en'}+{folder / name}", "test")
        judged = JudgedDocuments.read(collection.with_queries(recipe.queries))
        sides[name] = EncodedCollection.encode(encoder, judged, cache)
    first, second = (_document_rows(sides[name]).top_k(STANDARD[1]) for name in ("en", language))
    overlaps = jaccard(first, second)
    chance = jaccard(first, second[np.roll(np.arange(len(second)), 1)])
    ndcg = sides[language].measured(STANDARD).measures[NDCG]
    return Translated(ndcg, float(overlaps.mean()), float(chance.mean()))


def _document_rows(encoded: EncodedCollection) -> SparseRows:
    """The first passage of every document, by ascending ids."""
    return encoded.passages[encoded.first_passages]
