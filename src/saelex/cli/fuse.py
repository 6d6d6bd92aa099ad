"""`saelex fuse`: one run of several, by reciprocal rank fusion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saelex.cli.runs import read_runs


def fuse(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Two or more TREC run files.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The TREC run to write.")],
    k: Annotated[int, typer.Option("-k", min=0, help="Added to every rank: larger counts the first ranks less.")] = 60,
    depth: Annotated[int, typer.Option(min=1, help="Documents kept per query.")] = 1000,
    tag: Annotated[str, typer.Option(help="The run's name in its last column.")] = "rrf",
) -> None:
    """Fuse runs by reciprocal rank: a document's score is the sum of 1 / (k + rank) over the runs that have it.

    Ties, in the runs and in the fusion, go to the smaller document id.
    """
    from saelex.corpus.trec.runs import write_run
    from saelex.evaluation.fusion import reciprocal_rank_fusion

    read = read_runs(runs)
    fused = reciprocal_rank_fusion(list(read.values()), k, depth)
    write_run(output, fused, tag=tag)
    typer.echo(f"{output}: {len(fused)} queries, fused of {', '.join(read)}")
