from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Saelex

from saelex.corpus.documents import Run


def test_compare_and_fuse(saelex: Saelex, tmp_path: Path) -> None:
    qrels = tmp_path / "qrels.txt"
    qrels.write_text("q1 0 a 1\nq2 0 b 1\nq3 0 c 1\n")
    (tmp_path / "one.trec").write_text("q1 Q0 a 1 3 x\nq1 Q0 z 2 2 x\nq2 Q0 z 1 3 x\nq2 Q0 b 2 2 x\n")
    (tmp_path / "two.run.txt").write_text("q1 Q0 z 1 3 y\nq1 Q0 a 2 2 y\nq2 Q0 b 1 3 y\nq3 Q0 c 1 1 y\n")
    files = tmp_path / "one.trec", f"other={tmp_path}/two.run.txt"
    found = json.loads(saelex("compare", qrels, *files, "--measures", "MRR@10", "--json").out)
    assert found["queries"] == 3
    assert found["means"] == {"one": {"MRR@10": pytest.approx(0.5)}, "other": {"MRR@10": pytest.approx(2.5 / 3)}}
    (one,) = found["comparisons"]
    assert (one["first"], one["second"], one["wins"], one["losses"], one["ties"]) == ("one", "other", 1, 2, 0)
    # of the eight sign flips of 0.5, -0.5, -1 only those of sum 0 (two) are nearer to 0 than -1
    assert one["randomisation_p"] == one["randomisation_holm"] == 0.75
    shown = saelex("compare", qrels, *files, "--measures", "MRR@10").out
    assert "one - other" in shown and "-0.3333" in shown and "0.7500" in shown

    marked = f"[/b]:smile:={tmp_path}/one.trec"  # a name is no markup
    shown = saelex("compare", qrels, marked, files[1], "--measures", "MRR@10")
    assert "[/b]:smile: - other" in shown.out, shown.err

    fused = tmp_path / "fused.trec"
    done = saelex("fuse", *files, "-o", fused, "-k", "1")
    assert (done.code, done.out) == (0, f"{fused}: 3 queries, fused of one, other\n"), done.err
    lines = [line.split() for line in fused.read_text().splitlines()]
    by_query: Run = {}
    for query, _, document, _, score, tag in lines:
        by_query.setdefault(query, {})[document] = float(score)
        assert tag == "rrf"
    assert by_query["q1"] == pytest.approx({"a": 1 / 2 + 1 / 3, "z": 1 / 3 + 1 / 2})
    assert list(by_query["q1"]) == ["a", "z"]
    assert by_query["q2"] == pytest.approx({"b": 1 / 3 + 1 / 2, "z": 1 / 2})
    assert by_query["q3"] == pytest.approx({"c": 1 / 2})


def test_runs_that_cannot_be_compared(saelex: Saelex, tmp_path: Path) -> None:
    (tmp_path / "qrels.txt").write_text("q1 0 a 1\n")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.trec").write_text("q1 Q0 a 1 3 x\n")
    (tmp_path / "far.trec").write_text("q7 Q0 a 1 3 x\n")
    one, two = tmp_path / "one" / "x.trec", tmp_path / "two" / "x.trec"
    assert "two or more" in saelex("compare", tmp_path / "qrels.txt", one).err
    assert "two runs are called 'x'; name them" in saelex("compare", tmp_path / "qrels.txt", one, two).err
    assert "two runs are called 'x'" in saelex("fuse", one, two, "-o", tmp_path / "out").err
    assert "answers no query" in saelex("compare", tmp_path / "qrels.txt", one, tmp_path / "far.trec").err
    refused = saelex("compare", tmp_path / "qrels.txt", one, f"y={two}", "--reference", "z")
    assert "'z' is none of the runs x, y" in refused.err


def test_a_querys_own_document_is_left_out_where_the_name_says_so(saelex: Saelex, tmp_path: Path) -> None:
    (tmp_path / "arguana").mkdir()
    qrels = tmp_path / "arguana" / "test.tsv"
    qrels.write_text("query-id\tcorpus-id\tscore\nq1\ta\t1\n")
    for name in ("one", "two"):
        (tmp_path / f"{name}.trec").write_text("q1 Q0 q1 1 3 x\nq1 Q0 a 2 2 x\n")
    command = ("compare", qrels, tmp_path / "one.trec", tmp_path / "two.trec", "--measures", "MRR@10", "--json")
    done = saelex(*command)
    assert json.loads(done.out)["means"]["one"] == {"MRR@10": 1.0}
    assert done.err == "a query's own id is left out of what it finds; --keep-own-ids keeps it\n"
    kept = saelex(*command, "--keep-own-ids")
    assert (json.loads(kept.out)["means"]["one"], kept.err) == ({"MRR@10": 0.5}, "")
