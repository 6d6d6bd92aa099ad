"""How saelex was installed, and so the command that adds an optional package to it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from saelex.errors import InputError

_NAME = "saelex"
_EXTRAS = {"torch": "torch", "transformers": "torch", "scipy": "torch", "bm25s": "evaluate"}
"""Packages that much of saelex imports and a small installation lacks, and the extra that has each."""


def needs_extra(what: str, package: str, extra: str) -> InputError:
    """The error where an optional package is missing: what needs it, and the command that installs it."""
    return InputError(f"{what} needs {package}; install it with: {install_command(package, extra)}")


@contextmanager
def naming_extras() -> Iterator[None]:
    """Around code that imports a package of an extra: InputError, with the command that installs it, where it lacks."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        raise needs_extra("this", package, _EXTRAS[package]) from error


def install_command(package: str, extra: str | None = None, *, alone: bool = False) -> str:
    """What to type to have a package in this Python's environment, whichever environment the shell's own `pip` is of.

    extra: that of `pyproject.toml` which has the package, with the versions that go with saelex. pip and uv take
    extras from what is installed, be it a clone or a wheel, and ask no index for saelex itself. A source tree that was
    never installed has no extras, and pipx adds packages only: there the package is named.
    alone: without what the package asks for, where its files are all that is wanted.
    """
    without = ["--no-deps"] if alone else []
    if (Path(sys.prefix) / "pipx_metadata.json").is_file():
        return shlex.join(["pipx", "inject", *(["--pip-args=--no-deps"] if alone else []), _NAME, package])
    wanted = f"{_NAME}[{extra}]" if extra and _is_installed() else package
    if find_spec("pip") is None:  # as in the environments that uv makes
        return shlex.join(["uv", "pip", "install", "--python", sys.executable, *without, wanted])
    return shlex.join([sys.executable, "-m", "pip", "install", *without, wanted])


def _is_installed() -> bool:
    try:
        version(_NAME)
    except PackageNotFoundError:
        return False
    return True
