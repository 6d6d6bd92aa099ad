from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Saelex

from saelex.index.index import Index


def test_exported_vectors_give_the_searchs_scores(saelex: Saelex, index: Path, corpus: Path, tmp_path: Path) -> None:
    result = saelex("export", index, "-f", "qdrant", "-o", tmp_path / "points.jsonl", "--queries", corpus)
    assert result.code == 0, result.err
    assert "float32" in result.err  # the limits
    assert "4 documents" in result.out and "2 queries" in result.out
    points = [json.loads(line) for line in (tmp_path / "points.jsonl").read_text().splitlines()]
    queries = [json.loads(line) for line in (tmp_path / "points.jsonl.queries").read_text().splitlines()]
    vectors = {
        point["payload"]["id"]: dict(zip(*(point["vector"]["latents"][name] for name in ("indices", "values"))))
        for point in points
    }
    with Index.open(index) as opened:
        for query in queries:
            asked = dict(zip(query["body"]["query"]["indices"], query["body"]["query"]["values"]))
            scores = {
                name: sum(weight * vector.get(column, 0.0) for column, weight in asked.items())
                for name, vector in vectors.items()
            }
            wanted = {hit.id: hit.score for hit in opened.search(query["text"])}
            assert {name: score for name, score in scores.items() if score} == pytest.approx(wanted, rel=1e-3)
    settings = json.loads((tmp_path / "points.jsonl.settings.json").read_text())
    assert settings["format"] == "qdrant" and "latents" in settings["sparse_vectors"]


def test_queries_with_fields_by_name(saelex: Saelex, index: Path, tmp_path: Path) -> None:
    asked = tmp_path / "asked.csv"
    asked.write_text("number,question\n7,wings lift\n")
    named = ("--id-field", "number", "--text-field", "question")
    out = ("export", index, "-f", "qdrant", "-o", tmp_path / "points.jsonl")
    assert "1 queries" in saelex(*out, "--queries", asked, *named).out
    (query,) = map(json.loads, (tmp_path / "points.jsonl.queries").read_text().splitlines())
    assert query["text"] == "wings lift"
    assert "are of --queries" in saelex(*out, *named).err


@pytest.mark.parametrize("form", ["opensearch", "opensearch-sparse-vector", "milvus", "anserini"])
def test_every_format_writes_its_files(saelex: Saelex, index: Path, tmp_path: Path, form: str) -> None:
    result = saelex("export", index, "-f", form, "-o", tmp_path / "out.jsonl", "--no-text")
    assert result.code == 0, result.err
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert len(lines) == (8 if form.startswith("opensearch") else 4)
    assert "archive" not in (tmp_path / "out.jsonl").read_text()
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.jsonl", "out.jsonl.settings.json"]


def test_long_documents_become_passages(saelex: Saelex, model: Path, tmp_path: Path) -> None:
    text = "The wing of an aircraft creates lift. A bank lends money; rates follow inflation. " * 8
    source = tmp_path / "long.jsonl"
    source.write_text(
        json.dumps({"id": "long", "title": "T", "text": text}) + "\n" + '{"id": "short", "text": "zip"}\n'
    )
    saelex("index", source, tmp_path / "i", "--model", model, "--no-labels")
    saelex("export", tmp_path / "i", "-f", "milvus", "-o", tmp_path / "rows.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows[:2]] == ["long#1", "long#2"] and rows[-1]["id"] == "short"
    assert rows[1]["metadata"] == {"document": "long", "passage": 2} and rows[1]["title"] == "T"
    assert f"T {text}".startswith(rows[0]["text"])


def test_errors_are_one_line(saelex: Saelex, index: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    known = "anserini, milvus, opensearch, opensearch-sparse-vector, qdrant"
    assert f"unknown format 'vespa'; choose one of {known}" in saelex("export", index, "-f", "vespa", "-o", out).err
    refused = saelex("export", index, "-f", "milvus", "-o", out, "--set", "levels=5")
    assert "unknown setting 'levels'; known are none" in refused.err and refused.code == 2
    assert "levels must be at least 1" in saelex("export", index, "-f", "anserini", "-o", out, "--set", "levels=0").err
    assert not out.exists()


def test_settings_are_the_formats_own(saelex: Saelex, index: Path, tmp_path: Path) -> None:
    listed = saelex("export", "--formats")
    assert listed.code == 0
    assert "anserini: Documents for" in listed.out and "levels = 100  (int)" in listed.out
    assert "opensearch-sparse-vector: " in listed.out
    saelex("export", index, "-f", "anserini", "-o", tmp_path / "out.jsonl", "--set", "levels=5")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert max(weight for line in lines for weight in line["vector"].values()) == 5
