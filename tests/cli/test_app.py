from __future__ import annotations

import subprocess
import sys

import pytest
from tests.cli.conftest import Saelex

import saelex as package
from saelex.cli import app as app_module
from saelex.errors import MismatchError

VERBS = ["demo", "index", "search", "explain", "label", "encode", "evaluate", "export", "train-sae"]


def test_help_names_every_verb_and_version_is_the_packages(saelex: Saelex) -> None:
    shown = saelex("--help").out
    assert all(verb in shown for verb in VERBS)
    assert saelex("--version").out == f"saelex {package.__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(saelex: Saelex, verb: str) -> None:
    result = saelex(verb, "--help")
    assert result.code == 0 and "Usage" in result.out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['saelex', '--help']\n"
        "from saelex.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'numba', 'numpy', 'scipy', 'sentence_transformers'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_python_m_saelex() -> None:
    done = subprocess.run([sys.executable, "-m", "saelex", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"saelex {package.__version__}\n"


def test_errors(saelex: Saelex, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(error: BaseException) -> None:
        def app() -> None:
            raise error

        monkeypatch.setattr(app_module, "app", app)

    fail(MismatchError("two\nlines"))
    assert saelex("x")[0::2] == (2, "saelex: two lines\n")
    fail(OSError(28, "No space left on device", "/tmp/x"))
    assert saelex("x")[0::2] == (2, "saelex: /tmp/x: No space left on device\n")
    fail(ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        saelex("x")


def test_usage_errors_have_exit_code_2(saelex: Saelex) -> None:
    assert saelex("search").code == 2
    assert saelex("fly").code == 2
