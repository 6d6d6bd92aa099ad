from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.cli.conftest import Saelex
from tests.evaluation.languages.toy import write_languages

from saelex.corpus.opening import read_collection
from saelex.encoder.encoder import Encoder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAELEX_CACHE", str(tmp_path / "cache"))


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
    assert rows[0]["query_latents"] is None and rows[0]["costs"] is None and rows[0]["comparisons"] == []
    assert rows[1]["costs"]["query_active"] == rows[1]["query_latents"]
    for times in (rows[1]["costs"]["latency_ms"], rows[1]["costs"]["end_to_end_ms"]):
        assert (times["k"], times["mode"], times["queries"]) == (10, "exact", 2) and times["p50"] > 0
    assert rows[1]["costs"]["encode_queries_per_s"] > 0 and rows[1]["costs"]["encode_documents_per_s"] > 0
    compared = {one["measure"]: one for one in rows[2]["comparisons"]}
    assert list(compared) == ["nDCG@10", "MRR@10", "R@100"]
    assert compared["nDCG@10"]["second"] == "bm25"
    assert compared["nDCG@10"]["difference"] == pytest.approx(rows[2]["nDCG@10"] - rows[0]["nDCG@10"])


def test_a_file_beside_the_table_and_the_mean(saelex: Saelex, corpus: Path, model: Path, tmp_path: Path) -> None:
    other = shutil.copytree(corpus, tmp_path / "other")
    (other / "qrels" / "test.tsv").rename(other / "qrels" / "dev.tsv")
    result = saelex(
        "evaluate", corpus, f"{other}:dev", "--output", tmp_path / "rows.json", "--model", model, "--top-k", "3/all"
    )
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["set"], row["split"]) for row in rows[::2]] == [("tiny", "test"), ("other", "dev"), ("mean", "")]
    assert rows[4]["nDCG@10"] == pytest.approx((rows[0]["nDCG@10"] + rows[2]["nDCG@10"]) / 2)
    assert rows[0]["top_k"] == "3/all" and rows[0]["query_latents"] <= 3
    options = "--output", tmp_path / "more.json", "--model", model, "--top-k", "2+60%/all"
    assert saelex("evaluate", corpus, *options).code == 0
    shared = json.loads((tmp_path / "more.json").read_text())[0]
    whole = Encoder.load(model).encode_query([one.text for one in read_collection(corpus).queries], top_k=None)
    assert shared["top_k"] == "2+60%/all"
    assert shared["query_latents"] == pytest.approx(whole.top_k("2+60%").lengths.mean())
    assert rows[4]["query_latents"] == pytest.approx((rows[0]["query_latents"] + rows[2]["query_latents"]) / 2)
    for word in ("tiny:test", "other:dev", "mean", "concepts+words", f"{rows[0]['nDCG@10']:.3f}", "QD-FLOPs"):
        assert word in result.out
    costs = rows[0]["costs"]
    times = ("/".join(f"{costs[one][p]:.2f}" for p in ("p50", "p95", "p99")) for one in ("latency_ms", "end_to_end_ms"))
    speeds = f"{costs['encode_queries_per_s']:.0f}/{costs['encode_documents_per_s']:.0f}"
    for figure in (f"{costs['postings']:,.0f}", *times, speeds):
        assert figure in result.out
    for line in ("Search: exact, k = 10, 1 core, 2 queries timed", "Text to hits: exact, k = 10, "):
        assert line in result.out


def test_significant_differences_are_marked(saelex: Saelex, model: Path, tmp_path: Path) -> None:
    """Twelve queries that one run answers and the other does not: significant under 2^-11 x 3."""
    root = tmp_path / "twelve"
    (root / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "text": f"The wing number {i}."} for i in range(12)]
    queries = [{"_id": f"q{i}", "text": f"wing {i}"} for i in range(12)]
    (root / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (root / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (root / "qrels" / "test.tsv").write_text("".join(f"q{i}\td{i}\t1\n" for i in range(12)))
    (tmp_path / "good.trec").write_text("".join(f"q{i} Q0 d{i} 1 5 good\n" for i in range(12)))
    (tmp_path / "bad.trec").write_text("".join(f"q{i} Q0 d{(i + 1) % 12} 1 5 bad\n" for i in range(12)))
    arguments = ["evaluate", root, "--model", model, "--measures", "P@1", "--reference", "good"]
    result = saelex(*arguments, "--run", f"good={tmp_path}/good.trec", "--run", f"bad={tmp_path}/bad.trec")
    lines = {
        cells[1].strip(): cells for line in result.out.splitlines() if len(cells := line.strip("|").split("|")) > 5
    }
    assert lines["good"][2].strip() == "1.000" and lines["bad"][2].strip() == "0.000†"
    assert "† differs from good: p < 0.05 in the two-sided paired randomisation test" in result.out
    assert "over the 3 comparisons" in result.out


def test_runs_are_written_and_read_back(saelex: Saelex, corpus: Path, model: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", corpus, "--model", model, "--measures", "nDCG@10 AP", "--json"]
    rows = json.loads(saelex(*arguments, "--runs", tmp_path / "runs").out)
    files = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert files == ["tiny.test.concepts+words.trec", "tiny.test.concepts.trec"]
    again = json.loads(saelex(*arguments, "--run", f"kept={tmp_path}/runs/{{set}}.test.concepts.trec").out)
    assert again[0]["system"] == "kept"
    for name in ("nDCG@10", "AP"):
        assert again[0][name] == rows[0][name] == again[1][name]
    assert [one["difference"] for one in again[1]["comparisons"]] == [0.0, 0.0]


def test_a_report(saelex: Saelex, corpus: Path, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = saelex("evaluate", corpus, "--model", model, "--against", "bm25", "--report", tmp_path / "report")
    assert result.code == 0, result.err
    values = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert values["facts"]["command"].startswith("saelex evaluate ")
    assert values["collections"][0]["n_documents"] == 4
    assert "bm25" in (tmp_path / "report" / "report.md").read_text()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    refused = saelex("evaluate", corpus, "--model", model, "--report", tmp_path / "mine")
    assert refused.code == 2 and (tmp_path / "mine" / "notes.txt").exists()


def test_help_names_every_kind_of_collection(saelex: Saelex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    result = saelex("evaluate", "--help")
    kinds = ("FOLDER", "hf:OWNER/NAME", "@REVISION", "/SUBSET", "ir_datasets:ID", "trec:TOPICS,QRELS,CORPUS")
    assert result.code == 0 and all(kind in result.out for kind in (*kinds, "FIRST+SECOND", ":SPLIT"))


def test_the_language_of_words(saelex: Saelex, corpus: Path, model: Path, tmp_path: Path) -> None:
    """English finds "lift" by "lifting", words as they are do not."""
    asked = shutil.copytree(corpus, tmp_path / "asked")
    (asked / "queries.jsonl").write_text('{"_id": "1", "text": "lifting"}\n{"_id": "2", "text": "zip"}\n')
    found = {}
    for options in ((), ("--language", "en"), ("--language", "none")):
        out = saelex("evaluate", asked, "--model", model, "--against", "bm25", "--json", *options).out
        found[options] = json.loads(out)[0]["nDCG@10"]
    assert found[()] == found["--language", "en"] > found["--language", "none"]


def test_arguments_that_make_no_sense(saelex: Saelex, corpus: Path, model: Path, tmp_path: Path) -> None:
    assert (
        "--against takes bm25, dense, rrf or a model: no model 'tfidf'"
        in saelex("evaluate", corpus, "--model", model, "--against", "tfidf").err
    )
    assert "--top-k is QUERY/DOCUMENT" in saelex("evaluate", corpus, "--top-k", "40").err
    assert "unknown language 'xx'; choose one of ar" in saelex("evaluate", corpus, "--language", "xx").err
    assert "no split 'dev'; it has test" in saelex("evaluate", corpus, "--split", "dev").err
    assert saelex("evaluate").code == 2
    assert "no such folder" in saelex("evaluate", tmp_path / "no").err
    assert "--run is NAME=FILE" in saelex("evaluate", corpus, "--model", model, "--run", "x.trec").err
    assert "name measures of ir_measures" in saelex("evaluate", corpus, "--model", model, "--measures", "nDGC").err
    assert "no system 'bm25' to compare with" in saelex("evaluate", corpus, "--model", model, "--reference", "bm25").err


def test_languages_are_a_matrix(saelex: Saelex, model: Path, tmp_path: Path) -> None:
    root = write_languages(tmp_path / "toy")
    arguments = ["evaluate", root, "--model", model, "--against", "bm25", "--languages", "de,en", "--mixed"]
    result = saelex(*arguments, "--output", tmp_path / "matrix.json")
    assert result.code == 0, result.err
    values = json.loads((tmp_path / "matrix.json").read_text())
    assert json.loads(saelex(*arguments, "--json").out)["sets"] == values["sets"]
    (matrix,) = values["sets"]
    assert [(one["query_language"], one["document_language"]) for one in matrix["cells"]] == [
        ("de", "de"), ("de", "en"), ("en", "de"), ("en", "en"),
    ]  # fmt: skip
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in result.out.splitlines()]
    for system in ("bm25", "concepts", "concepts+words"):
        row = [f"{one['systems'][system]['nDCG@10']:.3f}" for one in matrix["cells"]]
        at = lines.index([f"{system}: nDCG@10", "de", "en"])
        assert [cells for cells in lines[at:] if cells[0] in ("de", "en")][:2] == [["de", *row[:2]], ["en", *row[2:]]]
        of_groups = [f"{one['measures'][system]['nDCG@10']:.3f}" for one in matrix["groups"]]
        assert [system, *of_groups] in [[cell.rstrip("† ") for cell in cells] for cells in lines]
    for word in (
        "monolingual (2)",
        "into English (1)",
        "language-bound",
        "words beside concepts: de de, en en.",
        "one index: nDCG@10",
    ):
        assert word in result.out
    shares = matrix["mixed"]["shares"]["bm25"]["de"]
    assert ["de", *(f"{shares[code]:.0%}" for code in ("de", "en"))] in lines


def test_a_report_over_languages(saelex: Saelex, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    root = write_languages(tmp_path / "toy")
    result = saelex("evaluate", root, "--model", model, "--languages", "de/en", "--report", tmp_path / "report")
    assert result.code == 0, result.err
    values = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert values["facts"]["command"].startswith("saelex evaluate ")
    assert "into English (1)" in (tmp_path / "report" / "index.html").read_text()


def test_options_that_languages_rule_out(saelex: Saelex, corpus: Path, model: Path, tmp_path: Path) -> None:
    alone = saelex("evaluate", corpus, "--model", model, "--mixed")
    assert alone.code == 2 and "name them with --languages" in alone.err
    runs = saelex("evaluate", corpus, "--model", model, "--languages", "de,en", "--runs", tmp_path / "runs")
    assert runs.code == 2 and "--runs is of single collections" in runs.err
