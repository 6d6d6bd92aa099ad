"""The documentation of the running Python as a corpus: something real to search on any machine, offline."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from saelex.corpus.documents import Document
from saelex.errors import InputError

_SCRIPT = Path(__file__).with_name("stdlib_docstrings.py")


def python_documentation() -> Iterator[Document]:
    """Docstrings of the standard library's public modules, classes, functions and methods, and pydoc's topics.

    Some 6,000 documents in a fixed order. id: the qualified name (`zipfile.ZipFile.extractall`; `topic:slicings`),
    title: the name with its signature, text: the docstring, metadata: `module` and `kind` (module, class, function,
    method, property or topic). A re-exported thing appears once, under its shortest name.

    The modules are imported in a child process in Python's isolated mode: three hundred imports leave this process as
    it is, and no file of the user's can take a module's place. Takes about a second. Raises InputError when the child
    fails.
    """
    with tempfile.TemporaryDirectory(prefix="saelex-") as empty:
        child = subprocess.run(
            [sys.executable, "-I", str(_SCRIPT)], stdin=subprocess.DEVNULL, capture_output=True, cwd=empty, check=False
        )
    if child.returncode:
        reason = child.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {child.returncode}"]
        raise InputError(f"the documentation of {sys.executable} cannot be read: {reason[0]}")
    for line in child.stdout.splitlines():
        record = json.loads(line)
        metadata = {"module": record["module"], "kind": record["kind"]}
        yield Document(record["id"], record["text"], record["title"], metadata)
