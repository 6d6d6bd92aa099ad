from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.cli.conftest import Saelex


def test_json_on_stdout_is_a_list_of_rows(saelex: Saelex, corpus: Path, model: Path) -> None:
    rows = json.loads(saelex("evaluate", corpus, "--model", model, "--against", "bm25", "--json").out)
    assert [(row["set"], row["split"], row["system"]) for row in rows] == [
        ("tiny", "test", "bm25"),
        ("tiny", "test", "concepts"),
        ("tiny", "test", "concepts+words"),
    ]
    assert (rows[0]["nDCG@10"], rows[0]["queries"], rows[0]["documents"]) == (1.0, 2, 4)
    assert rows[1]["top_k"] == "7/20"
    assert rows[1]["query_latents"] <= 7 and rows[1]["document_latents"] <= 20


def test_a_file_beside_the_table_and_the_mean(saelex: Saelex, corpus: Path, model: Path, tmp_path: Path) -> None:
    other = shutil.copytree(corpus, tmp_path / "other")
    (other / "qrels" / "test.tsv").rename(other / "qrels" / "dev.tsv")
    result = saelex(
        "evaluate", corpus, f"{other}:dev", "--json", tmp_path / "rows.json", "--model", model, "--top-k", "3/all"
    )
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["set"], row["split"]) for row in rows[::2]] == [("tiny", "test"), ("other", "dev"), ("mean", "")]
    assert rows[4]["nDCG@10"] == pytest.approx((rows[0]["nDCG@10"] + rows[2]["nDCG@10"]) / 2)
    assert rows[0]["top_k"] == "3/all" and rows[0]["query_latents"] <= 3
    for word in ("tiny:test", "other:dev", "mean", "concepts+words", f"{rows[0]['nDCG@10']:.3f}"):
        assert word in result.out


def test_arguments_that_make_no_sense(saelex: Saelex, corpus: Path, tmp_path: Path) -> None:
    assert "--against takes bm25 and dense" in saelex("evaluate", corpus, "--against", "tfidf").err
    assert "--top-k is QUERY/DOCUMENT" in saelex("evaluate", corpus, "--top-k", "40").err
    assert "no split 'dev'; it has test" in saelex("evaluate", corpus, "--split", "dev").err
    assert "give folders" in saelex("evaluate", corpus, "rows.json").err
    assert "no such folder" in saelex("evaluate", tmp_path / "no").err
