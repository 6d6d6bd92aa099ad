from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Saelex

import saelex as package
from saelex.cli import app as app_module
from saelex.errors import MismatchError

VERBS = ["demo", "index", "search", "explain", "label", "encode", "evaluate", "compare", "fuse", "export"]
VERBS += ["train-sae", "label-free", "recipes"]


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


@pytest.mark.parametrize(
    "arguments",
    [
        ["sae", "info", "a/b"],
        ["sae", "report", "a/b", "-t", "c.jsonl"],
        ["encode", "-t", "x", "--model", "a/b"],
        ["evaluate", "folder", "--against", "a/b"],
        ["mine", "folder", "--by", "a/b", "-o", "m.parquet"],
        ["mntp", "mntp/minilm", "--set", "model=a/b"],
        ["train-sae", "sae/minilm", "--set", "model=a/b"],
    ],
)
def test_a_model_that_cannot_be_had_is_said_before_torch_is_imported(arguments: list[str], tmp_path: Path) -> None:
    code = (
        f"import sys; sys.argv = ['saelex', *{arguments!r}]\n"
        "from saelex.cli import main\n"
        "try: main()\n"
        "except SystemExit as done: print(done.code, 'torch' in sys.modules)"
    )
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "2 False\n"
    assert done.stderr.startswith("saelex: a/b is not in the local cache and the hub cannot be reached")
    assert len(done.stderr.splitlines()) == 1


def test_python_m_saelex() -> None:
    done = subprocess.run([sys.executable, "-m", "saelex", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"saelex {package.__version__}\n"


@pytest.mark.parametrize("code", ["from saelex.cli import main; main()", "import saelex.cli.app as a; PATCH"])
def test_a_reader_that_has_gone_is_no_traceback(code: str) -> None:
    # the second time the text is still in Python's own buffer when the verb is done
    patch = "a.app_for = lambda _: lambda **_: print('x'); from saelex.cli import main; main()"
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", code.replace("PATCH", patch), "--version"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def run(*arguments: bytes, **settings: Any) -> subprocess.CompletedProcess[str]:
    command = [os.fsencode(sys.executable), b"-m", b"saelex", *arguments]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, **settings)


def test_an_argument_that_is_not_utf8_is_one_line() -> None:
    done = run(b"search", b"index", b"\xff")
    assert (done.returncode, done.stderr) == (2, "saelex: argument 3, '\\udcff', is not UTF-8\n")


def test_an_output_that_cannot_be_written_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = run(b"recipes", stdout=full)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert run(b"recipes", stdout=None, close_fds=True, preexec_fn=lambda: os.close(1)).returncode == 0


def test_errors(saelex: Saelex, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(error: BaseException) -> None:
        def app(prog_name: str, standalone_mode: bool) -> None:
            raise error

        monkeypatch.setattr(app_module, "app_for", lambda _, app=app: app)

    fail(MismatchError("two\nlines"))
    assert saelex("x")[0::2] == (2, "saelex: two lines\n")
    fail(OSError(28, "No space left on device", "/tmp/x"))
    assert saelex("x")[0::2] == (2, "saelex: /tmp/x: No space left on device\n")
    fail(OSError(28, "No space left on device"))
    assert saelex("x")[0::2] == (2, "saelex: No space left on device\n")
    fail(ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        saelex("x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "no such command 'fly'"),
        (["explain", "i"], "missing argument 'QUERY'; see `saelex explain --help`"),
        (["search", "i"], "give a QUERY, or --queries FILE and --run FILE"),
        (["search", "i", "q", "-k", "0"], "'-k'"),
        (["search", "i", "q", "--boost"], "--boost"),
        (["encode", "--fast"], "--fast"),
    ],
)
def test_usage_errors_are_one_line_with_exit_code_2(saelex: Saelex, arguments: list[str], message: str) -> None:
    result = saelex(*arguments)
    assert (result.code, result.out) == (2, "") and message in result.err
    assert result.err.startswith("saelex: ") and result.err.count("\n") == 1


def test_no_arguments_show_help(saelex: Saelex) -> None:
    result = saelex()
    assert result.code == 2 and all(verb in result.out for verb in VERBS)


@pytest.mark.parametrize("verb", ["train-sae", "label-free"])
def test_recipe_verbs_list_their_settings(saelex: Saelex, verb: str, tmp_path: Path) -> None:
    result = saelex(verb, "--settings")
    assert result.code == 0 and "model = ''  (str)\n    " in result.out
    assert "name a recipe" in saelex(verb).err
    missing = saelex(verb, tmp_path / "no.yaml", "-o", tmp_path / "out")
    assert missing.code == 2 and "no.yaml: cannot be read" in missing.err and not (tmp_path / "out").exists()
