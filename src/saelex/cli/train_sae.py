"""`saelex train-sae`: train a sparse autoencoder on a corpus, by a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train_sae(
    recipe: Annotated[Path | None, typer.Argument(help="YAML file; see recipes/sae.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change a setting, e.g. training.k=16.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the SAE and its metrics; runs/<recipe> if not given.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint of an unfinished run.")] = True,
    settings: Annotated[bool, typer.Option("--settings", help="List every setting of a recipe and stop.")] = False,
) -> None:
    """Train a TopK sparse autoencoder on the token states of a backbone.

    A run that was stopped goes on where it was when the same command is given again.
    """
    from saelex.errors import InputError
    from saelex.sae.recipe import SaeRecipe, load_recipe, recipe_settings

    if settings:
        for setting in recipe_settings(SaeRecipe):
            typer.echo(f"{setting.name} = {setting.default!r}  ({setting.kind})\n    {setting.help}")
        return
    if recipe is None:
        raise InputError("name a recipe, for example recipes/sae/minilm.yaml; --settings lists what it may hold")
    loaded = load_recipe(SaeRecipe, recipe, set_ or ())
    from saelex.training.sae_states import train_sae_on_text

    folder = output or Path("runs") / recipe.stem
    sae = train_sae_on_text(loaded, folder, resume=resume, progress=True)
    typer.echo(f"{folder}: {sae.config.n_latents:,} latents on {sae.config.model_name}, block {sae.config.layer}")
