"""Every shipped retrieval recipe: its commands are valid, and at toy size it learns, from MNTP to an index."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import typer
from tests.recipes.toy import commands, languages, stage, toy_mntp, toy_retrieval, toy_sae
from tests.recipes.world import SIZE, World, texts_of

from saelex.cli.app import app
from saelex.corpus.opening import read_collection
from saelex.encoder.encoder import Encoder
from saelex.evaluation.efficiency import qd_flops
from saelex.evaluation.evaluate import evaluate_collections
from saelex.evaluation.searching import CONCEPTS
from saelex.evaluation.vectors_cache import VectorsCache
from saelex.recipe import load_recipe
from saelex.training.mntp.recipe import MntpRecipe
from saelex.training.mntp.run import train_mntp
from saelex.training.retrieval.recipe import RetrievalRecipe
from saelex.training.retrieval.run import train_retrieval
from saelex.training.retrieval.settings import ModelRecipe
from saelex.training.retrieval.validation import validate
from saelex.training.sae.recipe import SaeRecipe
from saelex.training.sae.run import train_sae_on_text

RECIPES = [path for path in sorted(Path("recipes").glob("*/*.yaml")) if path.read_text().startswith("# saelex train ")]
KINDS = {"train": RetrievalRecipe, "mntp": MntpRecipe, "train-sae": SaeRecipe}
FALLBACK_SAE = Path("recipes/sae/minilm.yaml")  # for a recipe whose SAE nobody publishes, and no command makes


def named(paths: list[Path]) -> list[object]:
    return [pytest.param(path, id=f"{path.parent.name}/{path.stem}") for path in paths]


def test_the_recipes_of_both_papers_are_there() -> None:
    found = {f"{path.parent.name}/{path.stem}" for path in RECIPES}
    splare = {"llama31_8b", "llama31_8b_layer6", "gemma2_2b", "gemma3_1b", "qwen3_1_7b"}
    assert {f"splare/{name}" for name in splare} <= found
    assert {f"sae_splade/{name}" for name in ("distilbert", "bert", "multilingual")} <= found
    assert {"splade/llama31_8b", "splade/distilbert", "cross_lingual/xquad"} <= found


# ---- what stands in the files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", named(RECIPES))
def test_the_commands_and_variants_that_a_recipe_names_are_valid(path: Path) -> None:
    assert commands(path, "train")[0][2] == path.as_posix()
    for verb, kind in KINDS.items():
        for words in commands(path, verb):
            overrides = [word for before, word in pairwise(words) if before == "--set"]
            recipe = load_recipe(kind, words[2], overrides)
            if isinstance(recipe, RetrievalRecipe):
                validate(recipe)
    for line in path.read_text().splitlines():
        if line.startswith("#") and "# saelex train" not in line and "saelex " not in line:
            variant = re.findall(r"--set ([a-z_.]+=(?:'[^']*'|[\w./-]*\w))", line)  # a line's settings go together
            validate(load_recipe(RetrievalRecipe, path, [override.replace("'", "") for override in variant]))


@pytest.mark.parametrize("path", named(RECIPES))
def test_the_options_in_a_recipes_commands_exist(path: Path) -> None:
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for verb in ("train", "mntp", "train-sae", "mine", "score", "average", "evaluate"):
        for words in commands(path, verb):
            verbs[verb].make_context(verb, words[2:])  # parses and converts, and runs nothing


# ---- what they do ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def stages(world: World) -> Stages:
    return Stages(world)


class Stages:
    """The stages of a training, each once for all recipes that share it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._trained: list[tuple[RetrievalRecipe, Path]] = []

    def backbone(self, recipe: RetrievalRecipe, path: Path) -> Path:
        """The tiny model, after MNTP where the recipe's comments say so."""
        mntp = stage(path, "mntp")
        if mntp is None:
            return self.world.backbone(recipe.model.backbone)
        model = self.world.backbone(load_recipe(MntpRecipe, mntp).model)
        adapted = self.world.root / "mntp" / model.name
        if not adapted.exists():
            train_mntp(toy_mntp(mntp, model, self.world), adapted)
        return adapted

    def sae(self, recipe: RetrievalRecipe, path: Path) -> tuple[Path, str | None] | None:
        """The SAE in its published format, or trained by the recipe's stage 1."""
        if recipe.model.head != "sae":
            return None
        own = stage(path, "train-sae")
        if own is None and stage(path, "mntp") is not None:
            return self.world.published_sae(recipe.model.backbone)
        folder = self.world.root / "trained-saes" / recipe.model.backbone.rpartition("/")[2]
        if not folder.exists():
            model = self.world.backbone(recipe.model.backbone)
            train_sae_on_text(toy_sae(own or FALLBACK_SAE, model, self.world), folder)
        return folder, None

    def toy(self, path: Path) -> RetrievalRecipe:
        """The recipe at toy size, after the stages that its comments name."""
        shipped = load_recipe(RetrievalRecipe, path)
        return toy_retrieval(shipped, self._start(shipped, path), self.world)

    def _start(self, recipe: RetrievalRecipe, path: Path) -> ModelRecipe:
        model = replace(recipe.model, backbone=str(self.backbone(recipe, path)))
        sae = self.sae(recipe, path)
        return model if sae is None else replace(model, sae=str(sae[0]), sae_file=sae[1])

    def trained(self, recipe: RetrievalRecipe) -> Path:
        """The model folder of a retrieval training. SPLARE's two layers of Llama are one at toy size."""
        for known, folder in self._trained:
            if known == recipe:
                return folder
        folder = self.world.root / "trained" / str(len(self._trained))
        train_retrieval(recipe, folder)
        self._trained.append((recipe, folder))
        return folder


@pytest.mark.slow
@pytest.mark.parametrize("path", named(RECIPES))
def test_a_recipe_learns_and_its_flops_term_lowers_what_it_is_for(
    path: Path, world: World, stages: Stages, tmp_path: Path
) -> None:
    recipe = stages.toy(path)
    free = replace(recipe, sparsity=replace(recipe.sparsity, query=0.0, document=0.0, ramp="constant", ramp_steps=0))
    encoder, dense = Encoder.load(stages.trained(recipe)), Encoder.load(stages.trained(free))
    for query, document in sorted({languages(source) for source in recipe.data.sources}):
        collection = read_collection(world.beir(query, document), "train")
        (result,) = evaluate_collections([collection], encoder, cache=VectorsCache(tmp_path / "cache")).collections
        assert result.system(CONCEPTS).measures["nDCG@10"] >= 0.9, f"{query} questions, {document} passages"
    measure = {"flops": active_latents, "df_flops": postings_per_match}[recipe.sparsity.kind]
    assert active_latents(encoder) > 1
    assert measure(encoder) < 0.95 * measure(dense)


def active_latents(encoder: Encoder) -> float:
    """Of a mean document, nothing cut."""
    return encoder.encode_document(texts_of("en").documents, top_k=None).n_nonzero / SIZE


def postings_per_match(encoder: Encoder) -> float:
    """QD-FLOPs, nothing cut: DF-FLOPS makes latents rarer, not fewer."""
    texts = texts_of("en")
    return qd_flops(
        encoder.encode_query(texts.queries, top_k=None), encoder.encode_document(texts.documents, top_k=None)
    )
