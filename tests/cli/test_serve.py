"""`saelex serve` up to the port: which indexes, under which names, with which settings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.cli.conftest import Saelex

from saelex.cli import demo
from saelex.cli.options import named_paths
from saelex.errors import InputError
from saelex.server import running


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What would have been served, and what GET /v1/indexes says then."""
    runs: list[dict[str, Any]] = []

    def run(app: Any, host: str, port: int, *, grace: float, listening: Any) -> None:
        with TestClient(app, base_url="http://localhost", headers={"x-api-key": "k"}) as client:
            listening(f"http://{host}:{port}")
            indexes = client.get("/v1/indexes").json()["indexes"]
            encoders = {id(one.index.encoder) for one in app.state.library.served.values()}
            runs.append({"host": host, "port": port, "indexes": indexes, "encoders": len(encoders)})

    monkeypatch.setattr(running, "run", run)
    monkeypatch.delenv("SAELEX_API_KEY", raising=False)
    return runs


def test_indexes_by_name_with_one_encoder(saelex: Saelex, index: Path, served: list[dict[str, Any]]) -> None:
    result = saelex("serve", index, f"other={index}", "--writable", "--port", 8123)
    assert (result.code, result.out) == (0, "")
    assert "serving notes (4 documents), other (4 documents) at http://127.0.0.1:8123" in result.err
    [run] = served
    assert [one["name"] for one in run["indexes"]] == ["notes", "other"] and run["encoders"] == 1
    assert all(one["writable"] and one["encoder"] == "model" for one in run["indexes"])


def test_what_cannot_be_served_is_one_line(
    saelex: Saelex, index: Path, served: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for arguments, told in (
        ((tmp_path / "none",), "no such index"),
        ((index, f"notes={index}"), "two indexes are called 'notes'"),
        ((index, "--host", "0.0.0.0"), "set a key"),
        ((index, "--log-queries"), "--log-level info"),
    ):
        result = saelex("serve", *arguments)
        assert result.code == 2 and told in result.err and result.err.count("\n") == 1
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = saelex("serve", index)
    assert result.code == 2 and "serving needs uvicorn; install it with" in result.err
    assert served == []


def test_beyond_this_machine_with_a_key(
    saelex: Saelex, index: Path, served: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAELEX_API_KEY", "k")
    assert saelex("serve", index, "--host", "0.0.0.0").code == 0
    assert saelex("--log-level", "info", "serve", index, "--log-queries").code == 0
    assert [run["host"] for run in served] == ["0.0.0.0", "127.0.0.1"]


def test_names_are_part_of_addresses(tmp_path: Path) -> None:
    (tmp_path / "a=b.saelex").mkdir()
    paths = named_paths([f"{tmp_path}/notes.saelex", f"other={tmp_path}/notes.saelex", f"{tmp_path}/a=b.saelex"])
    assert paths == {
        "notes": tmp_path / "notes.saelex", "other": tmp_path / "notes.saelex", "a=b": tmp_path / "a=b.saelex",
    }  # fmt: skip
    for wrong in ("indexes=x", "/", f"{tmp_path}/what?", "=x", "..=x"):
        with pytest.raises(InputError, match="cannot be part of an address"):
            named_paths([wrong])


def test_the_demo_is_served(
    saelex: Saelex, served: list[dict[str, Any]], model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tests.cli.conftest import DOCUMENTS

    from saelex.corpus import python_docs
    from saelex.corpus.documents import Document

    monkeypatch.setattr(demo, "DEFAULT_MODEL", str(model))
    monkeypatch.setattr(
        python_docs, "python_documentation", lambda: (Document(str(d["_id"]), str(d["text"])) for d in DOCUMENTS)
    )
    monkeypatch.setenv("SAELEX_CACHE", str(tmp_path / "cache"))
    result = saelex("demo", "--serve")
    assert result.code == 0 and "serving python (4 documents) at http://127.0.0.1:8000" in result.err
    assert [one["labels"] for one in served[0]["indexes"]] == [True]
    for arguments in (("zip",), ("-k", 3), ("--json",)):
        refused = saelex("demo", "--serve", *arguments)
        assert refused.code == 2 and "--serve" in refused.err
    asked = saelex("demo")
    [folder] = (tmp_path / "cache" / "demo").iterdir()
    assert f"See it:       saelex serve python={folder}" in asked.out
