"""The verbs of the command line, put together."""

from __future__ import annotations

from copy import copy
from typing import Annotated, Any

import typer

from saelex import __version__
from saelex.cli.average import average
from saelex.cli.check import check
from saelex.cli.compare import compare
from saelex.cli.concepts import concept, concepts
from saelex.cli.curves import app as curves
from saelex.cli.delete import delete
from saelex.cli.demo import demo
from saelex.cli.encode import encode
from saelex.cli.evaluate import evaluate
from saelex.cli.explain import explain
from saelex.cli.export import export
from saelex.cli.fuse import fuse
from saelex.cli.index import index
from saelex.cli.label import label
from saelex.cli.label_free import label_free
from saelex.cli.logs import LogFormat, LogLevel, set_up
from saelex.cli.mcp import mcp
from saelex.cli.merge import merge
from saelex.cli.mine import mine
from saelex.cli.mntp import mntp
from saelex.cli.pull import pull
from saelex.cli.push import push
from saelex.cli.recipes import recipes
from saelex.cli.sae import app as sae
from saelex.cli.score import score
from saelex.cli.search import search
from saelex.cli.serve import serve
from saelex.cli.train import train
from saelex.cli.train_sae import train_sae

# what click, or typer's own copy of it in later versions, raises for arguments it cannot read
UsageError: type[Exception] = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "UsageError")
Abort: type[Exception] = typer.Abort

app = typer.Typer(
    name="saelex",
    help="Search by concepts: learned sparse retrieval over the latents of a sparse autoencoder.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"saelex {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but results and errors: no progress, no notes.")
    ] = False,
    log_level: Annotated[
        LogLevel | None, typer.Option(help="The least that a log line on stderr must matter; warning unless given.")
    ] = None,
    log_format: Annotated[
        LogFormat, typer.Option(help="json: all on stderr, progress and errors too, is one JSON object a line.")
    ] = LogFormat.text,
) -> None:
    """Options before the verb; the verbs do the work."""
    set_up(quiet=quiet, level=log_level, form=log_format)


def app_for(verbs: list[str]) -> typer.Typer:
    """The application; of one verb alone where it is named, since reading all verbs' options takes as long as a search.

    verbs: the first argument.
    """
    named = [command for command in app.registered_commands if command.callback and _verb(command) in verbs]
    if not named:
        return app
    of_one = copy(app)
    of_one.registered_commands, of_one.registered_groups = named, []
    return of_one


def _verb(command: Any) -> str:
    return str(command.name or command.callback.__name__.replace("_", "-"))


app.command()(demo)
app.command()(index)
app.command()(delete)
app.command()(merge)
app.command()(check)
app.command()(search)
app.command()(explain)
app.command()(serve)
app.command()(label)
app.command()(concepts)
app.command()(concept)
app.command()(encode)
app.command()(evaluate)
app.command()(compare)
app.command()(fuse)
app.command()(export)
app.command()(mcp)
app.command()(push)
app.command()(pull)
app.command()(mine)
app.command()(score)
app.command()(recipes)
app.command()(mntp)
app.command()(train)
app.command()(average)
app.command("train-sae")(train_sae)
app.command("label-free")(label_free)
app.add_typer(curves, name="curves")
app.add_typer(sae, name="sae")
