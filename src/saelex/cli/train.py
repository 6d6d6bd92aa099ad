"""`saelex train`: train an encoder for retrieval, by a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saelex.cli.options import RecipeSettings, Set, check_models, print_settings
from saelex.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from saelex.encoder.encoder import Encoder
    from saelex.training.retrieval.settings import ProgressRecipe


def train(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="RECIPE", help="YAML file, or a name that `saelex recipes` lists.")
    ] = None,
    set_: Set = [],  # noqa: B006
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the model; runs/<recipe> if not given."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print model, parameters, memory and steps; load no weights.")
    ] = False,
    gpus: Annotated[int, typer.Option(help="Processes that --dry-run reckons with.")] = 1,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint of an unfinished run.")] = True,
    half: Annotated[
        bool, typer.Option("--half", help="Store head and LoRA's update in float16; they are computed in float32.")
    ] = False,
    settings: RecipeSettings = False,
) -> None:
    """Train an encoder: SPLARE, SAE-SPLADE or SPLADE, by the recipe.

    A run that was stopped goes on where it was when the same command is given again. Several GPUs share the work under
    `accelerate launch -m saelex train ...`.
    """
    from saelex.recipe import load_recipe
    from saelex.training.retrieval.recipe import RetrievalRecipe

    if settings:
        print_settings(RetrievalRecipe)
        return
    if recipe is None:
        raise InputError("name a recipe, for example recipes/splare/llama31_8b.yaml; --settings lists what it may hold")
    chosen = load_recipe(RetrievalRecipe, recipe, set_)
    check_models([chosen.model.encoder or chosen.model.backbone])
    if dry_run:
        from saelex.training.retrieval.plan import plan

        typer.echo(str(plan(chosen, gpus=gpus)))
        return
    import torch

    from saelex.training.retrieval.run import train_retrieval

    folder = output or Path("runs") / recipe.stem
    encoder = train_retrieval(
        chosen,
        folder,
        evaluate=_evaluate(chosen.progress),
        weight_dtype=torch.float16 if half else None,
        resume=resume,
        progress=True,
    )
    typer.echo(f"{folder}: {encoder.n_latents:,} latents of {encoder.backbone.model_id}, trained for retrieval")


def _evaluate(progress: ProgressRecipe) -> Callable[[Encoder], dict[str, float]] | None:
    if not progress.collections:
        return None
    from saelex.corpus.opening import named_split, read_collection
    from saelex.evaluation.development import DevelopmentSet

    collections = [read_collection(*named_split(name)) for name in progress.collections]
    return DevelopmentSet(collections, queries=progress.queries, documents=progress.documents)
