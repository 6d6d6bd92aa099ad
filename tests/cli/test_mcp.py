"""`saelex mcp`: what is refused before anything is served; tests/integrations has the rest."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Saelex


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--port", "8000"], "--host, --port and --allow-host are for --http"),
        (["--http", "--host", "0.0.0.0"], "--host 0.0.0.0 can be reached from other machines: set a key"),
        (["--http", "--host", "example.org"], "--host 'example.org' is no address of this machine"),
    ],
)
def test_options_that_do_not_go_together(
    saelex: Saelex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str], wanted: str
) -> None:
    monkeypatch.delenv("SAELEX_API_KEY", raising=False)
    done = saelex("mcp", tmp_path / "none.saelex", *options)
    assert done.code == 2 and done.err.startswith(f"saelex: {wanted}") and done.err.count("\n") == 1


def test_indexes_of_one_name_and_what_is_no_index(saelex: Saelex, index: Path, tmp_path: Path) -> None:
    done = saelex("mcp", "--http", index, index)
    assert done.code == 2 and "two indexes are called 'notes'" in done.err
    done = saelex("mcp", "--http", tmp_path)
    assert done.code == 2 and done.err.startswith(f"saelex: {tmp_path}: ")


def test_a_port_that_is_taken(saelex: Saelex, index: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = saelex("mcp", index, "--http", "--port", taken.getsockname()[1])
    assert done.code == 2 and "choose another --host or --port" in done.err


def test_without_the_sdk_the_command_says_what_to_install(
    saelex: Saelex, monkeypatch: pytest.MonkeyPatch, index: Path
) -> None:
    monkeypatch.setitem(sys.modules, "mcp_types", None)
    monkeypatch.delitem(sys.modules, "saelex.integrations.mcp", raising=False)
    done = saelex("mcp", index, "--http")
    assert done.code == 2
    assert re.fullmatch(r"saelex: an MCP server needs mcp; install it with: .*mcp\W*\n", done.err)
    assert saelex("mcp", "--help").code == 0
