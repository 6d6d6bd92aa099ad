"""Searching, explaining and indexing with a model of saelex import no torch: they run where it is not to be had."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

# what a small installation lacks is hidden, as if it were not installed
RUN = """
import json, sys

HIDDEN = {"torch", "transformers", "scipy", "bm25s", "sentence_transformers", "sklearn"}

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
from saelex.cli import main

codes = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["saelex", *arguments]
    try:
        main()
    except SystemExit as stopped:
        codes.append(stopped.code or 0)
    codes[-1:] = [codes[-1], sorted({name.partition(".")[0] for name in sys.modules} & {*HIDDEN, "numba"})]
print(json.dumps(codes), file=sys.stderr)
"""


def run(*commands: list[Any]) -> tuple[str, list[Any]]:
    """stdout, and for each command its exit code and which of the heavy modules are imported then."""
    source = Path(__file__).parents[2] / "src"
    environment = os.environ | {"PYTHONPATH": str(source)}
    arguments = json.dumps([list(map(str, command)) for command in commands])
    made = subprocess.run(
        [sys.executable, "-c", RUN, arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert made.returncode == 0, made.stderr
    codes = json.loads(made.stderr.splitlines()[-1])
    return made.stdout, list(zip(codes[::2], codes[1::2]))


def test_a_search_with_reasons_imports_nothing_heavy(index: Path) -> None:
    out, (searched,) = run(["search", index, "zip archive", "--explain"])
    assert searched == (0, [])
    assert "zip  Archives" in out and "→" in out


def test_all_that_looks_after_an_index_runs_without_torch(
    index: Path, corpus: Path, model: Path, tmp_path: Path
) -> None:
    queries, trec = corpus / "queries.jsonl", tmp_path / "all.run"
    commands: list[list[Any]] = [
        ["explain", index, "zip archive", "zip"],
        ["concepts", index, "zip archive"],
        ["search", index, "--queries", queries, "--run", trec],
        ["encode", "--model", model, "--text", "zip archive"],
        ["delete", index, "bank"],
        ["merge", index],
        ["check", index],
        ["label", index, "--no-judge"],
        ["index", corpus, tmp_path / "new.saelex", "--model", model],
        ["search", tmp_path / "new.saelex", "lift of a wing", "--json"],
    ]
    out, found = run(*commands)
    assert [code for code, _ in found] == [0] * len(commands), out
    assert {name for _, names in found for name in names} <= {"numba"}
    assert {line.split()[0] for line in trec.read_text().splitlines()} == {"1", "2"}


def test_what_needs_torch_says_how_to_install_it(tmp_path: Path) -> None:
    code = "import saelex\ntry:\n    saelex.SparseAutoencoder\nexcept saelex.SaelexError as error:\n    print(error)"
    hidden = RUN.partition("from saelex.cli")[0]
    made = subprocess.run(
        [sys.executable, "-c", hidden + code],
        capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )  # fmt: skip
    assert made.stdout.startswith("this needs torch; install it with: ")
