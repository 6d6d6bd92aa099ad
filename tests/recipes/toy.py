"""A shipped recipe at toy size: its own losses, head, tuning, schedules and kinds of data, on the toy world."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

from tests.recipes.world import LANGUAGES, N_LATENTS, SIZE, World

from saelex.recipe import load_recipe
from saelex.training.examples.settings import Source
from saelex.training.mntp.recipe import MntpRecipe
from saelex.training.retrieval.recipe import RetrievalRecipe
from saelex.training.retrieval.settings import ModelRecipe, WeightingRecipe
from saelex.training.sae.recipe import SaeRecipe
from saelex.training.text_settings import TextData

STEPS = 70
_LAMBDA = {("sae", "lora"): 5e-3, ("vocabulary", "lora"): 2e-3, ("sae", "full"): 2e-2, ("vocabulary", "full"): 1e-2}


def commands(path: Path, verb: str) -> list[list[str]]:
    """The words of every `saelex <verb>` command in a recipe's comments, in order."""
    lines = [line.lstrip("# ") for line in path.read_text().splitlines() if line.startswith("#")]
    return [shlex.split(line) for line in lines if line.startswith(f"saelex {verb} ")]


def stage(path: Path, verb: str) -> Path | None:
    """The recipe of the stage that comes first, as a recipe's comments name it."""
    found = commands(path, verb)
    return Path(found[0][2]) if found else None


def toy_mntp(path: Path, model: Path, world: World) -> MntpRecipe:
    """Some steps of the MNTP stage."""
    recipe = load_recipe(MntpRecipe, path)
    training = replace(recipe.training, steps=4, tokens=None, batch_tokens=512, bf16=False, device="cpu", save_every=0)
    data = TextData(corpora=[str(world.corpus())])
    return replace(recipe, model=str(model), data=data, max_length=32, heldout_texts=0, training=training)


def toy_sae(path: Path, model: Path, world: World) -> SaeRecipe:
    """Stage 1 of SAE-SPLADE."""
    recipe = load_recipe(SaeRecipe, path)
    states = replace(recipe.states, max_length=32, token_budget=1024, cache="memory", device="cpu")
    training = replace(
        recipe.training,
        n_latents=N_LATENTS,
        centre=True,  # random models have states with much in common
        tokens=20_000,
        batch_tokens=200,
        warmup_steps=4,
        learning_rate=3e-3,
        dead_after_tokens=2_000,
        bfloat16=False,
        buffer_tokens=4_000,
        checkpoint_steps=0,
        device="cpu",
    )
    corpora = [str(world.corpus(language)) for language in LANGUAGES]
    made = replace(recipe, model=str(model), data=TextData(corpora=corpora), states=states, training=training)
    return made if made.layer is None else replace(made, layer=1)  # the last of the tiny model's too


def toy_retrieval(recipe: RetrievalRecipe, start: ModelRecipe, world: World) -> RetrievalRecipe:
    """The recipe, smaller: sizes, lengths and steps; learning rate, temperature and lambda to fit them.

    start: the recipe's model, its paths those of toys.
    """
    lora = recipe.tune.backbone == "lora"
    model = replace(start, device="cpu", dtype="float32")
    data = replace(recipe.data, sources=_sources(recipe.data.sources, world), negatives=4)
    steps = STEPS + 60 * (len(data.sources) - 1)
    if model.start_active is not None:
        model = replace(model, start_active=40)
    # frequencies weigh little where few latents are frequent
    weight = _LAMBDA[model.head, recipe.tune.backbone] * (5 if recipe.sparsity.kind == "df_flops" else 1)
    training = replace(
        recipe.training,
        batch_queries=32,
        max_query_length=None,
        max_document_length=None,
        accumulation_steps=1,
        gradient_checkpointing=False,
        epochs=steps * 32 / SIZE,
        max_steps=None if recipe.training.max_steps is None else steps,
        warmup_steps=None if recipe.training.warmup_steps is None else 5,
        learning_rate=5e-3 if lora else 2e-3,
        head_learning_rate=None,
        bf16=False,
        save_every=10 * steps,
    )
    return replace(
        recipe,
        model=model,
        weighting=_weighting(recipe.weighting, world),
        tune=replace(recipe.tune, lora=replace(recipe.tune.lora, rank=16), dropout=0.0),
        settings=replace(recipe.settings, max_query_length=16, max_document_length=16),
        data=data,
        loss=replace(recipe.loss, temperature=16.0 if lora else 1.0),
        sparsity=replace(
            recipe.sparsity, query=weight, document=weight, ramp_steps=min(recipe.sparsity.ramp_steps, 20)
        ),
        training=training,
    )


def _weighting(weighting: WeightingRecipe, world: World) -> WeightingRecipe:
    """Statistics of the world's passages. 64 of them share more latents than thousands do, so fewer are dropped."""
    if not weighting.texts.corpora:
        return weighting
    settings = replace(weighting.settings, max_df=max(weighting.settings.max_df, 0.5))
    return replace(weighting, texts=TextData([str(world.corpus())]), settings=settings)


def languages(source: Source) -> tuple[str, str]:
    """Of a source's queries and of its passages, as the paths of the recipe say; English where they say nothing."""
    found = [re.search(r"/([a-z]{2})/", f"/{path}") for path in (source.queries, source.corpus)]
    query, document = ("en" if one is None else one.group(1) for one in found)
    return query, document


def _sources(sources: list[Source], world: World) -> list[Source]:
    """The recipe's sources of the languages that the world has, each in its own layout.

    Equal ones once, and only those across languages where there are any.
    """
    made: list[Source] = []
    for source in sources:
        query, document = languages(source)
        toy = replace(source, split="train", weight=1.0, exclude=[], max_queries=None)
        if not {query, document} <= set(LANGUAGES):
            continue
        if source.kind == "beir":
            toy = replace(toy, path=str(world.beir()), negatives=str(world.scored))
        elif source.kind == "colbert":
            queries, corpus = str(world.queries(query)), str(world.corpus(document))
            toy = replace(toy, path=str(world.examples), queries=queries, corpus=corpus)
        else:
            raise ValueError(f"the toy world has no source of kind {source.kind}; add one for the new recipe")
        if toy not in made:
            made.append(toy)
    across = [source for source in made if len(set(languages(source))) > 1]
    return across or made
