from __future__ import annotations

import shlex
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from saelex import installation
from saelex.installation import install_command, needs_extra


def test_pip_of_this_environment_and_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "version", lambda name: "1")
    monkeypatch.setattr(installation, "find_spec", lambda name: object())
    wanted = [sys.executable, "-m", "pip", "install", "saelex[files]"]
    assert shlex.split(install_command("pypdf", "files")) == wanted
    assert shlex.split(install_command("wandb"))[-1] == "wandb"
    assert str(needs_extra("PDF", "pypdf", "files")).startswith("PDF needs pypdf; install it with: ")


def test_a_source_tree_that_was_never_installed_has_no_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(installation, "version", missing)
    assert shlex.split(install_command("pypdf", "files"))[-1] == "pypdf"


def test_an_environment_without_pip_is_uvs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "version", lambda name: "1")
    monkeypatch.setattr(installation, "find_spec", lambda name: None)
    wanted = ["uv", "pip", "install", "--python", sys.executable, "saelex[files]"]
    assert shlex.split(install_command("pypdf", "files")) == wanted


def test_pipx_injects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pipx_metadata.json").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert install_command("pypdf", "files") == "pipx inject saelex pypdf"
