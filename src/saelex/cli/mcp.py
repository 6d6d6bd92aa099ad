"""`saelex mcp`: indexes as tools of a language model, over stdin and stdout or over HTTP."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import ExitStack, redirect_stdout
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saelex.cli.logs import say, show_too
from saelex.cli.options import Indexes, Moved, named_paths, open_indexes
from saelex.errors import InputError

if TYPE_CHECKING:
    from mcp.server import Server

HOST, PORT = "127.0.0.1", 8765
KEY = "SAELEX_API_KEY"


def mcp(
    indexes: Indexes,
    about: Annotated[
        str, typer.Option(metavar="TEXT", help="What the documents are, told to the language model.")
    ] = "",
    http: Annotated[bool, typer.Option("--http", help="Serve streamable HTTP, not stdin and stdout.")] = False,
    host: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help=f"With --http: {HOST} unless given. Others than the loopback need a key."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help=f"With --http: {PORT} unless given; 0 takes a free one.")
    ] = None,
    allow_host: Annotated[
        list[str],
        typer.Option(metavar="NAME", help="With --http: a name under which it may be called, as behind a proxy."),
    ] = [],  # noqa: B006
    model: Moved = None,
) -> None:
    """Serve indexes to language models by the Model Context Protocol: search, explain, concepts, document. Read-only.

    An MCP client starts this command itself and speaks over stdin and stdout; docs/mcp.md shows its configuration.
    With --http, clients call http://ADDRESS:PORT/mcp, and where the variable SAELEX_API_KEY is set, they need that key.
    """
    from saelex.integrations.mcp import mcp_server

    key = os.environ.get(KEY) or None
    if not http and (host is not None or port is not None or allow_host):
        raise InputError("--host, --port and --allow-host are for --http; over stdin and stdout there is none")
    if http:
        _check_host(host or HOST, allow_host, key)
    elif sys.stdin is None or sys.stdout is None:
        raise InputError("stdin or stdout is closed; an MCP client speaks over both, or over --http")
    paths = named_paths(indexes)
    show_too("mcp", "uvicorn")
    with ExitStack() as opened:
        with redirect_stdout(sys.stderr):  # the protocol alone is on stdout
            served = opened.enter_context(open_indexes(paths, model))
        server = mcp_server(served, about=about)
        if http:
            _serve_http(server, host or HOST, PORT if port is None else port, allow_host, key)
        else:
            _serve_stdio(server)


def _serve_stdio(server: Server[Any]) -> None:
    from saelex.integrations.mcp import serve_stdio

    if sys.stdin.isatty():
        say("saelex: an MCP client is to speak here, in JSON-RPC; Ctrl-D ends it, and docs/mcp.md says how to use it")
    serve_stdio(server)


def _serve_http(server: Server[Any], host: str, port: int, hosts: list[str], key: str | None) -> None:
    from saelex.integrations.mcp import http_app, serve_http

    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address[:2], family=family)
    except OSError as error:
        raise InputError(f"{host}:{port}: {error.strerror}; choose another --host or --port") from error
    with listening:
        shown = f"[{host}]" if ":" in host else host
        say(f"saelex: MCP at http://{shown}:{listening.getsockname()[1]}/mcp")
        serve_http(http_app(server, hosts=hosts, key=key), listening)


def _check_host(host: str, hosts: list[str], key: str | None) -> None:
    try:
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        raise InputError(f"--host {host!r} is no address of this machine, such as {HOST} or 0.0.0.0") from None
    if not loopback and (key is None or not hosts):
        raise InputError(
            f"--host {host} can be reached from other machines: set a key in the variable {KEY}, and name with "
            "--allow-host under which name clients call it"
        )
