"""`saelex sae`: what SAEs there are, and what one of them is."""

from __future__ import annotations

from typing import Annotated

import typer

from saelex.cli import sae_report
from saelex.cli.options import Json, print_json

app = typer.Typer(help="Sparse autoencoders: the published ones, and what one of them is.", no_args_is_help=True)

SMALL_BYTES = 8_000_000_000
"""What --small allows for backbone and head together, in bfloat16."""


@app.command("list")
def list_saes(
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="NAME", help="Only on this language model, or part of a name."),
    ] = None,
    layer: Annotated[int | None, typer.Option(metavar="N", help="The SAEs themselves, of this layer.")] = None,
    small: Annotated[
        bool,
        typer.Option(
            "--small",
            help="Pairs for a laptop or one small GPU: at most 8 GB in bfloat16, backbone and head together; of every "
            "width the SAE near two thirds of the depth.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """List the known suites of SAEs on residual streams; with --layer or --small, SAEs one by one."""
    from saelex.cli import sae_show
    from saelex.sae.catalogue import search, suites

    found = search(model, layer)
    if layer is None and not small:
        named = {entry.suite.name for entry in found}
        chosen = [suite for suite in suites() if suite.name in named]
        print_json([sae_show.suite_facts(suite) for suite in chosen]) if as_json else sae_show.show_suites(chosen)
        return
    if layer is None:
        found = sae_show.one_per_width(found)
    if small:
        found = [entry for entry in found if entry.fits(SMALL_BYTES)]
    print_json([sae_show.entry_facts(entry) for entry in found]) if as_json else sae_show.show_entries(found)


@app.command()
def info(
    source: Annotated[
        str, typer.Argument(metavar="ID", help="Name from the list, folder, or hub id with the SAE's path after it.")
    ],
    as_json: Json = False,
) -> None:
    """Say what an SAE is, what it reads and how much memory it takes; one of the catalogue is not downloaded for it."""
    from saelex.cli import sae_show

    facts = sae_show.facts(source)
    print_json(facts) if as_json else sae_show.show_facts(facts)


app.command()(sae_report.report)
app.command()(sae_report.export)
app.command()(sae_report.push)
