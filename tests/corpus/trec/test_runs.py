"""Runs and qrels against ir_measures' readers, and the order against pytrec_eval's own tie rule."""

from __future__ import annotations

import gzip
from pathlib import Path

import ir_measures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saelex.corpus.documents import Run, best_first
from saelex.corpus.reading import read_qrels
from saelex.corpus.trec.qrels import write_qrels
from saelex.corpus.trec.runs import read_run, write_run
from saelex.errors import InputError

names = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Z"]), min_size=1, max_size=4)
scores = st.floats(-1e30, 1e30) | st.sampled_from([0.0, -0.0, 1.0, 1.0 + 1e-12, 1e-45, 5e-324])
runs = st.dictionaries(names, st.dictionaries(names, scores, min_size=1, max_size=8), min_size=1, max_size=3)


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def order(run: Run) -> dict[str, list[str]]:
    return {query: [document for document, _ in best_first(answers)] for query, answers in run.items()}


@given(runs)
def test_a_written_run_keeps_its_order_and_nearly_its_scores(
    tmp_path_factory: pytest.TempPathFactory, run: Run
) -> None:
    path = tmp_path_factory.mktemp("runs") / "a.run"
    write_run(path, run)
    found = read_run(path)
    assert order(found) == order(run)
    for query, answers in run.items():
        assert list(found[query]) == order(run)[query]
        assert len(set(found[query].values())) == len(answers)  # nothing for a tie rule to decide
        largest = max(map(abs, answers.values()))
        for document, score in answers.items():
            assert found[query][document] == pytest.approx(score, rel=1e-6, abs=max(2e-6 * largest, 1e-36))


@given(runs)
def test_ir_measures_reads_the_same_run(tmp_path_factory: pytest.TempPathFactory, run: Run) -> None:
    path = tmp_path_factory.mktemp("runs") / "a.run.gz"
    write_run(path, run)
    theirs: Run = {}
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        for row in ir_measures.read_trec_run(file):
            theirs.setdefault(row.query_id, {})[row.doc_id] = row.score
    assert read_run(path) == theirs


def test_columns_ranks_and_depth(tmp_path: Path) -> None:
    write_run(tmp_path / "a.run", {"q": {"b": 1.5, "a": 0.25, "c": 2}}, tag="mine", depth=2)
    assert (tmp_path / "a.run").read_text() == "q Q0 c 1 2.0 mine\nq Q0 b 2 1.5 mine\n"


def test_trec_eval_sees_our_order_where_scores_tie(tmp_path: Path) -> None:
    """trec_eval gives ties to the larger id and reads 32 bits; the relevant document is first by our rule alone."""
    run = {"tie": {"a": 1.0, "z": 1.0}, "close": {"z": 1.0, "a": 1.0 + 1e-12}, "zero": {"z": 0.0, "a": 0.0}}
    qrels = {query: {"a": 1} for query in run}
    assert ir_measures.pytrec_eval.calc_aggregate([ir_measures.RR], qrels, run)[ir_measures.RR] == 0.5
    write_run(tmp_path / "a.run", run)
    written = list(ir_measures.read_trec_run(str(tmp_path / "a.run")))
    assert ir_measures.pytrec_eval.calc_aggregate([ir_measures.RR], qrels, written)[ir_measures.RR] == 1.0


def test_what_cannot_be_written_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a.run"
    for run in ({"q": {"a b": 1.0}}, {"q q": {"a": 1.0}}, {"": {"a": 1.0}}, {"q": {"a\u00a0": 1.0}}):
        with pytest.raises(InputError, match="is empty or holds blanks"):
            write_run(path, run)
    with pytest.raises(InputError, match="the tag 'my run' is empty or holds blanks"):
        write_run(path, {"q": {"a": 1.0}}, tag="my run")
    for score in (float("nan"), float("inf"), float("-inf"), 1e39, -1e39):
        with pytest.raises(InputError, match=r"query 'q', document 'a': the score .* is not finite in 32 bits"):
            write_run(path, {"q": {"a": score}})
    with pytest.raises(InputError, match="depth of at least 1"):
        write_run(path, {"q": {"a": 1.0}}, depth=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q Q0 b 2 0.5", ":2: 5 columns; a run has 6"),
        ("q Q0 b 2 0.5 my tag", ":2: 7 columns; a run has 6"),
        ("q Q0 b 2 high tag", ":2: the score 'high' is no number"),
        ("q Q0 b 2 nan tag", ":2: the score nan is not finite"),
        ("q Q0 b 2 -inf tag", ":2: the score -inf is not finite"),
        ("q Q0 a 2 0.5 tag", ":2: query 'q' has the document 'a' twice"),
    ],
)
def test_bad_lines_of_a_run_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "a.run", "q Q0 a 1 1 tag", line)
    with pytest.raises(InputError) as caught:
        read_run(path)
    assert str(caught.value).startswith(f"{path}{message}")


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such run file"):
        read_run(tmp_path / "a.run")
    with pytest.raises(InputError, match="holds no results"):
        read_run(write(tmp_path / "a.run", "", ""))


@pytest.mark.parametrize("suffix", ["", ".gz"])
@given(qrels=st.dictionaries(names, st.dictionaries(names, st.integers(-2, 4), min_size=1), min_size=1, max_size=4))
def test_qrels_come_back_and_are_those_that_ir_measures_reads(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, qrels: dict[str, dict[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("qrels") / f"test.qrels{suffix}"
    write_qrels(path, qrels)
    theirs: dict[str, dict[str, int]] = {}
    opener = gzip.open if suffix else Path.open
    with opener(path, "rt", encoding="utf-8") as file:
        for row in ir_measures.read_trec_qrels(file):
            theirs.setdefault(row.query_id, {})[row.doc_id] = row.relevance
    assert read_qrels(path) == theirs == qrels


def test_ids_that_would_be_two_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the document id 'a b' is empty or holds blanks"):
        write_qrels(tmp_path / "q", {"q": {"a b": 1}})
