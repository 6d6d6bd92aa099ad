"""`saelex mntp`: adapt a language model before retrieval training, by a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saelex.cli.options import RecipeSettings, Set, check_models, print_settings
from saelex.errors import InputError


def mntp(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="RECIPE", help="YAML file, or a name that `saelex recipes` lists.")
    ] = None,
    set_: Set = [],  # noqa: B006
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Folder for the adapted model; runs/<recipe> if not given."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint of an unfinished run.")] = True,
    settings: RecipeSettings = False,
) -> None:
    """Adapt a whole language model to masked prediction: a decoder learns to see both sides, an encoder gets a head.

    The folder is a Hugging Face checkpoint that takes the model's place in every other recipe. Several GPUs share the
    work under `accelerate launch -m saelex mntp ...`.
    """
    from saelex.recipe import load_recipe
    from saelex.training.mntp.recipe import MntpRecipe

    if settings:
        print_settings(MntpRecipe)
        return
    if recipe is None:
        raise InputError("name a recipe, for example recipes/mntp/minilm.yaml; --settings lists what it may hold")
    loaded = load_recipe(MntpRecipe, recipe, set_)
    check_models([loaded.model])
    from saelex.training.mntp.run import train_mntp

    folder = output or Path("runs") / recipe.stem
    facts = train_mntp(loaded, folder, resume=resume, progress=True)
    before, after = facts["heldout"]["before"], facts["heldout"]["after"]
    typer.echo(f"{folder}: {facts['base']['model']} after {facts['steps']:,} steps of {facts['objective']}")
    if before is not None:
        typer.echo(
            f"masked tokens of {facts['heldout']['texts']} held-out texts: loss {before['loss']:.3f} -> "
            f"{after['loss']:.3f}, accuracy {before['accuracy']:.3f} -> {after['accuracy']:.3f}"
        )
