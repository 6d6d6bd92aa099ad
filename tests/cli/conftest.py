"""A tiny random model, a small corpus, and the command line run in this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.encoder.tiny_encoders import tiny_encoder

from saelex.cli import main

DOCUMENTS = [
    {"_id": "wing", "title": "Lift", "text": "The wing of an aircraft creates lift in the air.", "year": 1950},
    {"_id": "bank", "title": "Money", "text": "A bank lends money; interest rates follow inflation.", "year": 1990},
    {"_id": "river", "title": "", "text": "River banks flood when the rain falls for days.", "year": 2001},
    {"_id": "zip", "title": "Archives", "text": "Reading a zip archive in Python.", "year": 2010},
]


class Result(NamedTuple):
    code: int
    out: str
    err: str


Saelex = Callable[..., Result]


@pytest.fixture
def saelex(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Saelex:
    """`saelex("search", index, "query")`: exit code, stdout and stderr."""

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["saelex", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return Result(int(stopped.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random encoder."""
    folder = tmp_path_factory.mktemp("cli")
    tiny_encoder(folder / "bert").save_pretrained(folder / "model")
    return folder / "model"


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BEIR folder with one split."""
    root = tmp_path_factory.mktemp("sets") / "tiny"
    (root / "qrels").mkdir(parents=True)
    (root / "corpus.jsonl").write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
    queries = [{"_id": "1", "text": "lift of a wing"}, {"_id": "2", "text": "zip archive"}]
    (root / "queries.jsonl").write_text("".join(json.dumps(query) + "\n" for query in queries))
    (root / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\twing\t2\n2\tzip\t1\n")
    return root


@pytest.fixture
def index(saelex: Saelex, corpus: Path, model: Path, tmp_path: Path) -> Path:
    """The corpus, indexed."""
    result = saelex("index", corpus, tmp_path / "notes.saelex", "--model", model)
    assert result.code == 0, result.err
    return tmp_path / "notes.saelex"
