from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import DOCUMENTS, Saelex

from saelex.encoder.encoder import Encoder
from saelex.vectors import SparseRows


def test_texts_to_json_lines_on_stdout(saelex: Saelex, model: Path) -> None:
    result = saelex("encode", "-t", "wings", "-t", "zip", "--model", model, "--side", "query", "--top-k", "3")
    lines = [json.loads(line) for line in result.out.splitlines()]
    rows = Encoder.load(model).encode_query(["wings", "zip"], top_k=3)
    assert [line["id"] for line in lines] == ["0", "1"]
    assert [{int(name): weight for name, weight in line["vector"].items()} for line in lines] == rows.to_dicts()
    assert all(len(line["vector"]) <= 3 for line in lines)
    result = saelex("encode", "-t", "wings", "--model", model, "--side", "query", "--top-k", "1+50%")
    (line,) = map(json.loads, result.out.splitlines())
    (vector,) = Encoder.load(model).encode_query(["wings"], top_k=None).top_k("1+50%").to_dicts()
    assert {int(name): weight for name, weight in line["vector"].items()} == vector and len(vector) > 1
    wrong = saelex("encode", "-t", "wings", "--model", model, "--top-k", "50%")
    assert (
        "--top-k is a number from 1, or one with a share" in wrong.err
        and "or 'all' or 'default', not '50%'" in wrong.err
    )


def test_a_corpus_to_a_file_and_to_a_folder(saelex: Saelex, corpus: Path, model: Path, tmp_path: Path) -> None:
    rows = Encoder.load(model).encode_document([f"{one['title']} {one['text']}".strip() for one in DOCUMENTS])
    assert saelex("encode", corpus, "-o", tmp_path / "v.jsonl", "--model", model).code == 0
    ids, read = SparseRows.read_jsonl(tmp_path / "v.jsonl", rows.n_latents)
    assert ids == [one["_id"] for one in DOCUMENTS]
    np.testing.assert_allclose(read.to_dense(), rows.to_dense(), rtol=1e-5)
    assert saelex("encode", corpus, "-o", tmp_path / "v", "--model", model).code == 0
    np.testing.assert_allclose(SparseRows.load(tmp_path / "v").to_dense(), rows.to_dense(), rtol=1e-5)
    assert json.loads((tmp_path / "v" / "ids.json").read_text()) == ids
    assert "exists already" in saelex("encode", corpus, "-o", tmp_path / "v", "--model", model).err


def test_fields_by_name(saelex: Saelex, model: Path, tmp_path: Path) -> None:
    table = tmp_path / "papers.csv"
    table.write_text("doi,abstract,name\n10/a,wings create lift,Flight\n")
    named = ("--id-field", "doi", "--text-field", "abstract", "--title-field", "name")
    (line,) = saelex("encode", table, *named, "--model", model).out.splitlines()
    (vector,) = Encoder.load(model).encode_document(["Flight wings create lift"]).to_dicts()
    record = json.loads(line)
    assert record["id"] == "10/a"
    assert {int(name): weight for name, weight in record["vector"].items()} == pytest.approx(vector, rel=1e-5)
    assert "are of a source" in saelex("encode", "-t", "x", *named, "--model", model).err


@pytest.mark.parametrize("output", ["-", "v.jsonl", "v"])
def test_a_source_without_documents_is_an_error(saelex: Saelex, model: Path, tmp_path: Path, output: str) -> None:
    source = tmp_path / "none.jsonl"
    source.touch()
    target = output if output == "-" else tmp_path / output
    result = saelex("encode", source, "-o", target, "--model", model)
    assert (result.code, result.out) == (2, "") and "nothing to encode" in result.err
    assert list(tmp_path.iterdir()) == [source]


def test_arguments_that_make_no_sense(saelex: Saelex, corpus: Path, model: Path, tmp_path: Path) -> None:
    assert "JSON lines" in saelex("encode", corpus, "-o", tmp_path / "v.json").err
    assert not list(tmp_path.iterdir())
    assert "either a source or --text" in saelex("encode").err
    assert "either a source or --text" in saelex("encode", corpus, "-t", "x").err
    assert "--side is query or document" in saelex("encode", "-t", "x", "--side", "both").err
    assert "--top-k is a number" in saelex("encode", "-t", "x", "--top-k", "0").err
