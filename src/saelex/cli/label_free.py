"""`saelex label-free`: make an encoder of a backbone and an SAE, with corpus statistics in place of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saelex.cli.options import RecipeSettings, Set, check_models, print_settings
from saelex.errors import InputError


def label_free(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="RECIPE", help="YAML file, or a name that `saelex recipes` lists.")
    ] = None,
    set_: Set = [],  # noqa: B006
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Where the model goes, in place of an older one; required."
        ),
    ] = None,
    half: Annotated[bool, typer.Option(help="Store the head in float16: half the size, computed in float32.")] = True,
    settings: RecipeSettings = False,
) -> None:
    """Make an encoder of an SAE without relevance labels: BM25 over latents, its statistics counted on a corpus."""
    from saelex.recipe import load_recipe
    from saelex.training.label_free import LabelFreeRecipe, label_free_encoder

    if settings:
        print_settings(LabelFreeRecipe)
        return
    if recipe is None or output is None:
        raise InputError(
            "name a recipe and a folder, for example recipes/label_free/minilm.yaml --output models/mine; "
            "--settings lists what a recipe may hold"
        )
    loaded = load_recipe(LabelFreeRecipe, recipe, set_)
    check_models([loaded.model])
    import torch

    from saelex.encoder.files.folder import check_target

    check_target(output)
    encoder = label_free_encoder(loaded, progress=True)
    encoder.save_pretrained(output, weight_dtype=torch.float16 if half else None)
    typer.echo(f"{output}: {encoder.n_latents:,} latents of {encoder.backbone.model_id}, weighted without labels")
