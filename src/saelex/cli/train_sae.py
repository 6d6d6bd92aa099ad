"""`saelex train-sae`: train a sparse autoencoder on a corpus, by a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saelex.cli.options import RecipeSettings, Set, check_models, print_settings
from saelex.errors import InputError


def train_sae(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="RECIPE", help="YAML file, or a name that `saelex recipes` lists.")
    ] = None,
    set_: Set = [],  # noqa: B006
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Folder for the SAE and its metrics; runs/<recipe> if not given."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint of an unfinished run.")] = True,
    settings: RecipeSettings = False,
) -> None:
    """Train a sparse autoencoder on the token states of a backbone.

    A run that was stopped goes on where it was when the same command is given again. Several GPUs share the work under
    `accelerate launch -m saelex train-sae ...`.
    """
    from saelex.recipe import load_recipe
    from saelex.training.sae.recipe import SaeRecipe

    if settings:
        print_settings(SaeRecipe)
        return
    if recipe is None:
        raise InputError("name a recipe, for example recipes/sae/minilm.yaml; --settings lists what it may hold")
    loaded = load_recipe(SaeRecipe, recipe, set_)
    check_models([loaded.model])
    from saelex.sae.training.processes import Processes
    from saelex.training.sae.run import train_sae_on_text

    folder = output or Path("runs") / recipe.stem
    sae = train_sae_on_text(loaded, folder, resume=resume, progress=True)
    if Processes.start(loaded.training.device).main:
        place = "masked-LM transform" if sae.config.reads_transform else f"block {sae.config.layer}"
        typer.echo(f"{folder}: {sae.config.n_latents:,} latents on {sae.config.model_name}, {place}")
