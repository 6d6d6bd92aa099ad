"""`saelex label-free`: make an encoder of a backbone and an SAE, with corpus statistics in place of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def label_free(
    recipe: Annotated[Path, typer.Argument(help="YAML file; see recipes/label_free.")],
    output: Annotated[Path, typer.Option(help="Folder for the model; an older model there is replaced.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change a setting, e.g. k=8.")
    ] = None,
    half: Annotated[bool, typer.Option(help="Store the head in float16: half the size, computed in float32.")] = True,
) -> None:
    """Make an encoder of an SAE without relevance labels: BM25 over latents, its statistics counted on a corpus."""
    import torch

    from saelex.encoder.folder import check_target
    from saelex.sae.recipe import load_recipe
    from saelex.training.label_free import LabelFreeRecipe, label_free_encoder

    check_target(output)
    encoder = label_free_encoder(load_recipe(LabelFreeRecipe, recipe, set_ or ()), progress=True)
    encoder.save_pretrained(output, weight_dtype=torch.float16 if half else None)
    typer.echo(f"{output}: {encoder.n_latents:,} latents of {encoder.backbone.model_id}, weighted without labels")
