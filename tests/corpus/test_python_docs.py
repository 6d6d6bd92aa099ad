from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import zipfile
from collections import Counter

import pytest

from saelex.corpus import python_docs
from saelex.corpus.documents import Document
from saelex.corpus.python_docs import python_documentation
from saelex.corpus.stdlib_docstrings import signature
from saelex.errors import InputError


@pytest.fixture(scope="module")
def documents() -> dict[str, Document]:
    found = list(python_documentation())
    assert len(found) == len({document.id for document in found})
    return {document.id: document for document in found}


def test_a_docstring_as_inspect_gives_it(documents: dict[str, Document]) -> None:
    extract = documents["zipfile.ZipFile.extractall"]
    assert extract.text == inspect.getdoc(zipfile.ZipFile.extractall)
    assert extract.title == "zipfile.ZipFile.extractall(path=None, members=None, pwd=None)"
    assert extract.metadata == {"module": "zipfile", "kind": "method"}


def test_a_class_carries_its_constructors_documentation(documents: dict[str, Document]) -> None:
    assert inspect.getdoc(zipfile.ZipFile.__init__) in documents["zipfile.ZipFile"].text


def test_things_of_every_kind_are_there_once_under_their_public_name(documents: dict[str, Document]) -> None:
    wanted = {"open", "str.split", "os.listdir", "json.loads", "asyncio.gather", "itertools.chain", "sqlite3.connect"}
    assert wanted <= documents.keys()
    assert not {"io.open", "posix.listdir", "json.decoder.JSONDecoder", "asyncio.tasks.gather"} & documents.keys()
    kinds = Counter(document.metadata["kind"] for document in documents.values())
    assert kinds.keys() >= {"module", "class", "function", "method", "property"}
    assert 4_000 < len(documents) < 9_000


def test_nothing_private_untitled_or_tied_to_this_run(documents: dict[str, Document]) -> None:
    for document in documents.values():
        assert document.title and document.text
        assert "._" not in f".{document.metadata['module']}"
        assert " at 0x" not in document.title


def test_the_order_is_fixed_and_the_importing_process_stays_as_it_is(documents: dict[str, Document]) -> None:
    code = (
        "import sys; from saelex.corpus.python_docs import python_documentation as p; before = set(sys.modules);"
        "import json; print(json.dumps([[d.id for d in p()], sorted(set(sys.modules) - before)]))"
    )
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ids, imported = json.loads(again.stdout)  # nothing but our own line was printed
    assert ids == list(documents)
    assert len(imported) < 20


def test_a_failing_child_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: pytest.TempPathFactory) -> None:
    monkeypatch.setattr(python_docs, "_SCRIPT", tmp_path / "missing.py")  # type: ignore[operator]
    with pytest.raises(InputError, match=r"documentation of .* cannot be read: .*missing.py"):
        list(python_documentation())


def test_a_signature_does_not_tell_the_environment() -> None:
    def form(fp: object = None, environ: object = os.environ) -> None: ...

    assert signature(form, inside_class=False) == "(fp=None, environ=os.environ)"
