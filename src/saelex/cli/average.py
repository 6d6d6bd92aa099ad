"""`saelex average`: one model of several runs, by the mean of their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saelex.errors import InputError
from saelex.files import expanded


def average(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Two or more models of one recipe.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the model goes, in place of an older one.")
    ],
    weights: Annotated[
        str | None, typer.Option(metavar="W1,W2,...", help="How much each run counts; all alike unless given.")
    ] = None,
    half: Annotated[bool, typer.Option(help="Store the head in float16: half the size, computed in float32.")] = True,
) -> None:
    """Average the weights of several training runs, low-rank updates merged: SPLARE's last step.

    The runs must be of one base model, layer, head and settings. The new model holds a whole backbone.
    """
    import torch

    from saelex.encoder.averaging import average_encoders
    from saelex.encoder.files.folder import check_target

    check_target(output)
    if expanded(output).resolve() in {expanded(run).resolve() for run in runs}:
        raise InputError(f"{output} is one of the runs; choose another folder for their average")
    encoder = average_encoders(runs, None if weights is None else _numbers(weights))
    encoder.save_pretrained(output, include_backbone=True, weight_dtype=torch.float16 if half else None)
    typer.echo(f"{output}: the mean of {len(runs)} runs of {encoder.backbone.base_model}")


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise InputError(f"--weights {text!r}: write one number for each run, as in 1,2,1") from error
