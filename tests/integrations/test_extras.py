"""Without a framework's package: one line that says what to install. Without any of them, saelex itself is whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FRAMEWORKS = ["langchain_core", "langchain_qdrant", "llama_index", "haystack"]
SOURCE = Path(__file__).parents[2] / "src"


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("langchain", "langchain-core", "langchain"),
        ("langchain_qdrant", "langchain-qdrant", "langchain-qdrant"),
        ("llama_index", "llama-index-core", "llama-index"),
        ("haystack", "haystack-ai", "haystack"),
    ],
)
def test_what_is_missing_is_said(module: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    from saelex.errors import InputError

    for name in [name for name in sys.modules if name.partition(".")[0] in FRAMEWORKS]:
        monkeypatch.delitem(sys.modules, name)
    for name in FRAMEWORKS:
        monkeypatch.setitem(sys.modules, name, None)  # an import of it fails
    monkeypatch.delitem(sys.modules, f"saelex.integrations.{module}", raising=False)
    with pytest.raises(
        InputError, match=rf"saelex\.integrations\.{module} needs {package}; install it with: "
    ) as caught:
        importlib.import_module(f"saelex.integrations.{module}")
    assert f"saelex[{extra}]" in str(caught.value) or package in str(caught.value).partition("install it with")[2]


def test_no_framework_is_imported_by_what_does_not_need_it() -> None:
    code = (
        "import sys, saelex.integrations.filters, saelex.index.index, saelex.cli.app\n"
        f"print([name for name in {FRAMEWORKS!r} if name in sys.modules])"
    )
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(SOURCE), "PATH": ""})
    assert done.stdout.strip() == "[]"
