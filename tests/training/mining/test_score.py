"""Scoring with teachers whose scores are given: aggregation, filter, texts, and going on after a stop."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from tests.training.mining.conftest import DOCUMENTS, QUERIES, GivenMiner, rows_of

from saelex.errors import InputError
from saelex.training.mining.aggregation import Aggregation
from saelex.training.mining.false_negatives import FalseNegativeFilter
from saelex.training.mining.mine import Mining, MiningSettings
from saelex.training.mining.score import Scoring
from saelex.training.mining.sources import MiningCollection
from saelex.training.mining.teachers import Done, Pairs, Teacher

Given = Mapping[tuple[str, str], float]
# one pair is found by both miners
ROWS = [
    ("lift", "wing", True, None, "qrels"),
    ("lift", "stall", False, 2, "given"),
    ("lift", "bank", False, 3, "given"),
    ("lift", "stall", False, 1, "other"),
    ("archive", "zip", True, None, "qrels"),
    ("archive", "tar", True, None, "qrels"),
    ("archive", "wing", False, 1, "given"),
    ("flood", "river", True, None, "qrels"),
    ("flood", "bank", False, 2, "given"),
    ("loan", "bank", True, None, "qrels"),
]
LOGITS: Given = {
    ("lift", "wing"): 4.0,
    ("lift", "stall"): 3.5,
    ("lift", "bank"): -6.0,
    ("archive", "zip"): 5.0,
    ("archive", "tar"): 1.0,
    ("archive", "wing"): -3.0,
    ("flood", "river"): 2.0,
    ("flood", "bank"): 0.5,
    ("loan", "bank"): 7.0,
}
COSINES: Given = {pair: 0.5 if pair[1] in ("wing", "bank") else 0.25 for pair in LOGITS}


class GivenTeacher:
    """Scores pairs as it is told, and notes them; fails at one query if so told."""

    def __init__(self, name: str, scores: Given, fail_at: str | None = None) -> None:
        self.name, self.scores, self.fail_at = name, scores, fail_at
        self.asked: list[tuple[str, str]] = []

    @contextmanager
    def _open(self, pairs: Pairs, scratch: Path) -> Iterator[Callable[[int, int, Done], NDArray[np.float32]]]:
        def score(start: int, stop: int, done: Done) -> NDArray[np.float32]:
            found = []
            for query, document in zip(pairs.query[start:stop], pairs.document[start:stop]):
                pair = pairs.query_ids[query], pairs.document_ids[document]
                assert pairs.query_texts[query] == QUERIES[pair[0]]
                assert pairs.document_texts[document] == DOCUMENTS[pair[1]]
                if pair[0] == self.fail_at:
                    raise KeyboardInterrupt
                self.asked.append(pair)
                found.append(self.scores[pair])
            return np.array(found, np.float32)

        yield score

    def teacher(self, **facts: Any) -> Teacher:
        """As scoring takes it."""
        return Teacher(self.name, facts, self._open)


@pytest.fixture
def examples(collection: MiningCollection, tmp_path: Path) -> Path:
    """ROWS, mined."""
    miners = [
        GivenMiner("given", {"lift": ["wing", "stall", "bank"], "archive": ["wing"], "flood": ["river", "bank"]}),
        GivenMiner("other", {"lift": ["stall"]}),
    ]
    output = tmp_path / "mined.parquet"
    Mining(collection, [one.miner() for one in miners], MiningSettings(5, 3)).run(output)
    assert [row[:5] for row in rows_of(output)] == ROWS
    return output


def scores_of(output: Path) -> list[float]:
    found: list[float] = pq.read_table(output)["score"].to_pylist()
    return found


def test_one_teacher_scores_every_pair_once(folder: Path, examples: Path, tmp_path: Path) -> None:
    teacher = GivenTeacher("judge", LOGITS)
    scored = Scoring(folder, examples, [teacher.teacher()]).run(tmp_path / "a.parquet")
    assert scored == (10, 0, True)
    assert sorted(teacher.asked) == sorted(LOGITS)
    assert rows_of(tmp_path / "a.parquet") == [(*row, LOGITS[row[0], row[1]]) for row in ROWS]


def test_two_teachers_are_min_max_normalised_weighted_and_scaled(folder: Path, examples: Path, tmp_path: Path) -> None:
    teachers = [GivenTeacher("judge", LOGITS).teacher(), GivenTeacher("dense", COSINES).teacher()]
    aggregation = Aggregation(weights=(3.0, 1.0), scale=20.0)
    Scoring(folder, examples, teachers, aggregation).run(tmp_path / "a.parquet")
    expected = [
        *(20 * (3 * (4 + 6) / 10 + 1) / 4, 20 * (3 * 9.5 / 10 + 0) / 4, 20 * (0 + 1) / 4, 20 * (3 * 9.5 / 10 + 0) / 4),
        *(20 * 3 / 4, 20 * (3 * 4 / 8 + 0) / 4, 20 * (0 + 1) / 4),
        *(20 * 3 / 4, 20 * 1 / 4),
        0,  # a query with one pair: nothing to tell apart
    ]
    np.testing.assert_allclose(scores_of(tmp_path / "a.parquet"), expected, rtol=1e-6)


def test_false_negatives_are_dropped_for_every_miner(folder: Path, examples: Path, tmp_path: Path) -> None:
    rule = FalseNegativeFilter(margin=1.0)  # bounds: lift 3, archive 0, flood 1, loan 6
    output = tmp_path / "a.parquet"
    scored = Scoring(folder, examples, [GivenTeacher("judge", LOGITS).teacher()], Aggregation(scale=9), rule).run(
        output
    )
    assert scored == (8, 2, True)
    assert [row[:5] for row in rows_of(output)] == [row for row in ROWS if row[1] != "stall"]
    tighter = FalseNegativeFilter(share=0.25)  # flood: 0.5, not above 0.25 * 2; lift: 3.5 above 1
    scored = Scoring(folder, examples, [GivenTeacher("judge", LOGITS).teacher()], filter=tighter).run(tmp_path / "b")
    assert scored == (8, 2, True)


def test_texts_make_a_file_that_needs_no_folder(folder: Path, examples: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.parquet"
    teachers = [GivenTeacher("judge", LOGITS).teacher(kind="cross")]
    Scoring(folder, examples, teachers, with_text=True).run(output)
    read = pq.read_table(output)
    assert read["query"].to_pylist() == [QUERIES[row[0]] for row in ROWS]
    assert read["text"].to_pylist() == [DOCUMENTS[row[1]] for row in ROWS]
    facts = json.loads(read.schema.metadata[b"saelex"])
    assert facts["teachers"] == [{"name": "judge", "kind": "cross"}]
    assert (facts["mined"]["command"], facts["collection"]["name"]) == ("mine", "notes")


def test_rows_that_are_not_in_order_are_sorted_by_query(folder: Path, examples: Path, tmp_path: Path) -> None:
    read = pq.read_table(examples)
    backwards = read.take(list(reversed(range(len(read)))))
    pq.write_table(backwards, tmp_path / "backwards.parquet")
    Scoring(folder, tmp_path / "backwards.parquet", [GivenTeacher("judge", LOGITS).teacher()]).run(tmp_path / "a")
    assert rows_of(tmp_path / "a") == [(*row, LOGITS[row[0], row[1]]) for row in reversed(ROWS)]
    mixed = read.take([9, 0, 4, 1, 5, 2, 6, 3, 8, 7])
    pq.write_table(mixed, tmp_path / "mixed.parquet")
    Scoring(folder, tmp_path / "mixed.parquet", [GivenTeacher("judge", LOGITS).teacher()]).run(tmp_path / "b")
    chosen = [ROWS[i] for i in (9, 0, 1, 2, 3, 4, 5, 6, 8, 7)]
    assert rows_of(tmp_path / "b") == [(*row, LOGITS[row[0], row[1]]) for row in chosen]


# ---- stopping and going on ------------------------------------------------------------------------------------------


def test_a_stopped_run_goes_on_and_gives_the_same_file(
    folder: Path, examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saelex.training.mining.score.PART", 1)

    def run(output: Path, fail_at: str | None = None, **options: Any) -> list[tuple[str, str]]:
        second = GivenTeacher("dense", COSINES, fail_at)
        Scoring(folder, examples, [GivenTeacher("judge", LOGITS).teacher(), second.teacher()], **options).run(output)
        return second.asked

    whole, output = tmp_path / "whole.parquet", tmp_path / "stopped.parquet"
    assert len(run(whole)) == 9
    with pytest.raises(KeyboardInterrupt):
        run(output, fail_at="flood")
    assert not output.exists()
    assert sorted(run(output)) == [("flood", "bank"), ("flood", "river"), ("loan", "bank")]
    assert output.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "stopped.parquet.parts").exists()
    assert run(output) == []

    # what the teachers said serves another scale and filter too
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "scaled.parquet", fail_at="loan")
    assert len(run(tmp_path / "scaled.parquet", aggregation=Aggregation(scale=3))) == 1
    np.testing.assert_allclose(scores_of(tmp_path / "scaled.parquet"), np.array(scores_of(whole)) * 3, rtol=1e-6)


def test_other_settings_in_the_same_place_are_refused(folder: Path, examples: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.parquet"
    with pytest.raises(KeyboardInterrupt):
        Scoring(folder, examples, [GivenTeacher("judge", LOGITS, "flood").teacher()]).run(output)
    with pytest.raises(InputError, match=r"a\.parquet\.parts: holds parts of a run with other settings \(teachers"):
        Scoring(folder, examples, [GivenTeacher("other", LOGITS).teacher()]).run(output)
    with pytest.raises(InputError, match="holds parts of a run with other settings"):
        Scoring(folder, examples, [GivenTeacher("judge", LOGITS).teacher(weights_sha256="1")]).run(output)
    Scoring(folder, examples, [GivenTeacher("judge", LOGITS).teacher()]).run(output)
    with pytest.raises(InputError, match=r"exists already, made with other settings \(scale 1.0, now 2.0\)"):
        Scoring(folder, examples, [GivenTeacher("judge", LOGITS).teacher()], Aggregation(scale=2.0)).run(output)


def test_what_cannot_be_scored(folder: Path, examples: Path, tmp_path: Path) -> None:
    teacher = GivenTeacher("judge", {**LOGITS, ("flood", "bank"): float("nan")}).teacher()
    with pytest.raises(InputError, match="judge scores query 'flood' and document 'bank' nan, as 1 pairs"):
        Scoring(folder, examples, [teacher]).run(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="2 numbers for 1 teachers"):
        Scoring(folder, examples, [teacher], Aggregation(weights=(1.0, 1.0))).run(tmp_path / "b.parquet")
    changed = shutil.copytree(folder, tmp_path / "changed")
    with (changed / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "new", "text": "one more"}\n')
    with pytest.raises(InputError, match=r"changed: not the corpus that .* was mined from \(notes\)"):
        Scoring(changed, examples, [teacher]).run(tmp_path / "b.parquet")
    with pytest.raises(InputError, match="no such file"):
        Scoring(folder, tmp_path / "none.parquet", [teacher]).run(tmp_path / "b.parquet")
