"""What the verbs that measure runs share: how run files and measures are named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saelex.errors import InputError
from saelex.files import expanded

if TYPE_CHECKING:
    from saelex.corpus.documents import Run

Measures = Annotated[list[str], typer.Option(metavar="NAMES", help="Of ir_measures, as in 'nDCG@10 AP(rel=2)'.")]
IgnoreOwnIds = Annotated[
    bool | None,
    typer.Option(
        "--ignore-own-ids/--keep-own-ids",
        help="Leave the document that has a query's own id out of what it finds; so by default where the name has "
        "arguana or quora in it.",
    ),
]
DEFAULT_MEASURES = ["nDCG@10 MRR@10 R@100"]

_SUFFIXES = {".gz", ".trec", ".run", ".txt", ".tsv", ".res"}


def named_file(text: str) -> tuple[str, str]:
    """`NAME=FILE`. Raises InputError for anything else."""
    name, separator, file = text.partition("=")
    if not (name and separator and file):
        raise InputError(f"--run is NAME=FILE, as in splade=runs/splade.trec, not {text!r}")
    return name, file


def named_files(texts: Iterable[str]) -> dict[str, str]:
    """Several NAME=FILE. Raises InputError for anything else, and for a name that comes twice."""
    found: dict[str, str] = {}
    for name, file in map(named_file, texts):
        if name in found:
            raise InputError(f"--run: two runs are called {name!r}; give each a name of its own")
        found[name] = file
    return found


def read_runs(files: Sequence[str]) -> dict[str, Run]:
    """TREC run files by name: `NAME=FILE`, or a file's own name without its endings.

    Raises InputError for fewer than two, for two of one name, and for files that are missing or malformed.
    """
    from saelex.corpus.trec.runs import read_run

    if len(files) < 2:
        raise InputError("give two or more TREC run files")
    runs: dict[str, Run] = {}
    for text in files:
        name, path = named_file(text) if "=" in text and not expanded(text).exists() else (_stem(Path(text)), text)
        if name in runs:
            raise InputError(f"two runs are called {name!r}; name them: one=FILE other=FILE")
        runs[name] = read_run(path)
    return runs


def split_names(texts: Iterable[str]) -> list[str]:
    """The measures that `--measures` names, which may be repeated and takes several with blanks between."""
    return [name for text in texts for name in text.split()]


def _stem(path: Path) -> str:
    while path.suffix.lower() in _SUFFIXES:
        path = path.with_suffix("")
    return path.name
