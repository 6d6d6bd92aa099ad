"""`saelex serve`: indexes behind HTTP, with a page to look with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from saelex.cli.logs import say
from saelex.cli.options import Indexes, Moved, named_paths, open_indexes
from saelex.errors import InputError

if TYPE_CHECKING:
    from saelex.index.index import Index
    from saelex.server.settings import Settings

HOST, PORT = "127.0.0.1", 8000


def serve(
    indexes: Indexes,
    host: Annotated[str, typer.Option(help="Where to listen; beyond this machine with a key only.")] = HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = PORT,
    writable: Annotated[bool, typer.Option("--writable", help="Documents may be added and deleted.")] = False,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="SAELEX_API_KEY", show_envvar=True, help="What requests must show; best set there."),
    ] = None,
    cors_origin: Annotated[
        list[str], typer.Option(metavar="ORIGIN", help="A page elsewhere that may ask, such as https://example.org.")
    ] = [],  # noqa: B006
    allowed_host: Annotated[
        list[str], typer.Option(metavar="NAME", help="A name that the server answers to, as behind a proxy.")
    ] = [],  # noqa: B006
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="For one request.")] = 30.0,
    queue: Annotated[int, typer.Option(min=1, help="Queries that may wait; more are told to come again.")] = 2000,
    log_queries: Annotated[
        bool, typer.Option("--log-queries", help="Log paths and bodies, too: saelex --log-level info serve ...")
    ] = False,
    model: Moved = None,
) -> None:
    """Serve indexes: an HTTP API, and a page to search and steer with. Ctrl-C or SIGTERM ends it in order."""
    check_installed()
    from saelex.server.running import allowed_hosts, is_loopback
    from saelex.server.settings import Settings

    paths = named_paths(indexes)
    if api_key is None and not is_loopback(host):
        raise InputError(f"--host {host} is reached from other machines: set a key with SAELEX_API_KEY or --api-key")
    if log_queries:
        _check_logged()
    settings = Settings(
        writable=writable,
        api_key=api_key,
        cors_origins=tuple(cors_origin),
        allowed_hosts=allowed_hosts(host, tuple(allowed_host), key=api_key is not None),
        log_queries=log_queries,
        seconds=timeout,
        queue=queue,
    )
    with open_indexes(paths, model) as opened:
        serve_indexes(opened, settings, host, port)


def serve_indexes(indexes: dict[str, Index], settings: Settings, host: str = HOST, port: int = PORT) -> None:
    """Serve open indexes until a signal, and say where."""
    from saelex.server import running
    from saelex.server.app import create_app
    from saelex.server.library import warm

    names = ", ".join(f"{name} ({len(index):,} documents)" for name, index in indexes.items())
    for index in indexes.values():
        warm(index)

    def listening(address: str) -> None:
        say(f"saelex: serving {names} at {address}")

    running.run(create_app(indexes, settings), host, port, grace=settings.seconds, listening=listening)


def check_installed() -> None:
    """Raises InputError where what serves is not installed."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        from saelex.installation import needs_extra

        raise needs_extra("serving", str(error.name), "serve") from error


def _check_logged() -> None:
    """Raises InputError where log lines of that level are not shown: a setting without effect is a slip."""
    import logging

    if not logging.getLogger("saelex.server").isEnabledFor(logging.INFO):
        raise InputError("--log-queries writes lines of level info; show them: saelex --log-level info serve ...")
