from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Saelex

from saelex.cli.options import read_where
from saelex.corpus.trec.runs import read_run
from saelex.errors import InputError
from saelex.index import run as many_queries
from saelex.index.index import Index


def test_json_is_the_search_with_all_contributions(saelex: Saelex, index: Path) -> None:
    found = json.loads(saelex("search", index, "zip archive", "--json", "-k", 3).out)
    assert found["query"] == "zip archive" and len(found["hits"]) <= 3
    with Index.open(index) as opened:
        wanted = opened.search("zip archive", 3)
        assert [hit["id"] for hit in found["hits"]] == [hit.id for hit in wanted]
    for rank, hit in enumerate(found["hits"], start=1):
        assert list(hit) == ["rank", "id", "score", "title", "text", "url", "metadata", "explanation"]
        assert hit["rank"] == rank
        assert math.fsum(row["contribution"] for row in hit["explanation"]) == hit["score"]
        for row in hit["explanation"]:
            always = ["latent", "label", "contribution", "query_words", "document_words"]
            assert [key for key in row if not key.endswith("_context")] == always


def test_plain_output_names_hits_and_reasons(saelex: Saelex, index: Path) -> None:
    without = saelex("search", index, "zip archive").out
    assert "zip  Archives" in without and "Reading a zip archive in Python." in without
    assert "word:" not in without
    explained = saelex("search", index, "zip archive", "--explain").out
    assert "→" in explained and re.search(r"… \d+ more, \d+% of the score\n", explained)
    assert "\x1b[" not in explained
    assert "word:zip  (zip → zip)" in saelex("explain", index, "zip archive", "zip").out


def test_words_can_be_left_out(saelex: Saelex, index: Path) -> None:
    found = json.loads(saelex("search", index, "zip", "--json", "--no-words").out)
    assert not [row for hit in found["hits"] for row in hit["explanation"] if row["label"].startswith("word:")]


def test_steering_reaches_the_query(saelex: Saelex, index: Path) -> None:
    def rows(*options: object) -> dict[str, dict[str, object]]:
        found = json.loads(saelex("search", index, "zip archive", "--json", *options).out)
        hit = next(hit for hit in found["hits"] if hit["id"] == "zip")
        return {row["label"]: row for row in hit["explanation"]}

    plain, boosted = rows(), rows("--boost", "word:zip=3")
    assert boosted["word:zip"]["note"] == "boost x3"
    assert boosted["word:zip"]["contribution"] == pytest.approx(
        3 * float(str(plain["word:zip"]["contribution"])), rel=1e-3
    )
    assert "word:zip" not in rows("--ban", "word:zip")
    assert rows("--add", "word:python=2")["word:python"]["note"] == "added at 2"


def test_filters(saelex: Saelex, index: Path) -> None:
    found = json.loads(
        saelex("search", index, "bank of a river", "--json", "--where", "year>1980", "--where", "year<2005").out
    )
    assert {hit["id"] for hit in found["hits"]} <= {"bank", "river"} and found["hits"]


def test_where_is_read() -> None:
    assert read_where([]) is None
    assert read_where(["lang=en", "year>=2001", "year<2010", 'name="7"', "draft!=true"]) == {
        "lang": {"=": "en"},
        "year": {">=": 2001, "<": 2010},
        "name": {"=": "7"},
        "draft": {"!=": True},
    }
    for bad in (["lang"], ["=en"], ["a=1", "a=2"]):
        with pytest.raises(InputError, match="--where"):
            read_where(bad)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mode", "fuzzy"], "unknown search mode 'fuzzy'"),
        (["--ban", "no such concept"], "no concept is labelled"),
        (["--boost", "3=x"], "NAME=NUMBER"),
    ],
)
def test_errors_are_one_line(saelex: Saelex, index: Path, options: list[str], message: str) -> None:
    result = saelex("search", index, "zip", *options)
    assert result.code == 2 and message in result.err
    assert result.err.startswith("saelex: ") and result.err.count("\n") == 1


def test_a_missing_or_foreign_index(saelex: Saelex, tmp_path: Path) -> None:
    assert "no such index" in saelex("search", tmp_path / "no", "zip").err
    assert "not an index" in saelex("search", tmp_path, "zip").err


def test_the_encoder_of_an_index_may_move(saelex: Saelex, corpus: Path, model: Path, tmp_path: Path) -> None:
    index, first, second = tmp_path / "i", shutil.copytree(model, tmp_path / "first"), tmp_path / "second"
    saelex("index", corpus, index, "--model", first, "--no-labels")
    first.rename(second)
    assert "no model" in saelex("search", index, "zip").err
    assert saelex("search", index, "zip", "--model", second).code == 0
    assert saelex("explain", index, "zip", "zip", "--model", second).code == 0


def test_explain_gives_every_contribution_of_one_document(saelex: Saelex, index: Path) -> None:
    result = json.loads(saelex("explain", index, "zip archive", "zip", "--json").out)
    assert result["id"] == "zip" and result["query"] == "zip archive"
    assert math.fsum(row["contribution"] for row in result["explanation"]) == result["score"]
    plain = saelex("explain", index, "zip archive", "zip").out
    assert plain.startswith(f"rank {result['rank']} of 4 documents")
    assert all(row["label"] in plain for row in result["explanation"])
    assert "not in the index" in saelex("explain", index, "zip", "nobody").err
    concepts = [row["latent"] for row in result["explanation"] if not row["label"].startswith("word:")]
    banned = [part for latent in concepts for part in ("--ban", latent)]
    assert "scores 0" in saelex("explain", index, "zip archive", "zip", "--no-words", *banned).err


def test_labels_of_another_language(saelex: Saelex, index: Path) -> None:
    """Of words as they are, "and" and "the" may be labels as well."""

    def labels() -> list[str]:
        with Index.open(index) as opened:
            return [concept.label for concept in opened.concepts or ()]

    assert saelex("label", index, "--no-judge", "--language", "none").code == 0
    plain = labels()
    assert saelex("label", index, "--no-judge").code == 0
    assert labels() != plain
    wrong = saelex("label", index, "--language", "xx")
    assert wrong.code == 2 and "unknown language 'xx'" in wrong.err


def test_label_prints_its_judgement(saelex: Saelex, index: Path) -> None:
    result = saelex("label", index, "--no-judge")
    assert result.code == 0 and "concepts have a label" in result.out


QUERIES = {"1": "lift of a wing", "2": "zip archive"}
FORMS = {
    "q.jsonl": "".join(json.dumps({"_id": name, "text": text}) + "\n" for name, text in QUERIES.items()),
    "q.tsv": "1\tlift of a wing\n2\tzip archive\n",
    "topics.txt": "".join(f"<top>\n<num> Number: {name}\n<title> {text}\n</top>\n" for name, text in QUERIES.items()),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_file_of_queries_is_written_as_a_run(saelex: Saelex, index: Path, tmp_path: Path, form: str) -> None:
    queries, run = tmp_path / form, tmp_path / "out.trec"
    queries.write_text(FORMS[form])
    done = saelex("search", index, "--queries", queries, "--run", run, "-k", 3, "--ban", "word:zip")
    assert done.code == 0, done.err
    with Index.open(index) as opened:
        wanted = {name: opened.search(QUERIES[name], 3, ban=["word:zip"]) for name in ("1", "2")}
    assert done.out == f"{run}: 2 queries, {sum(map(len, wanted.values()))} hits\n"
    found = read_run(run)
    assert list(found) == ["1", "2"]
    for name, hits in wanted.items():
        assert list(found[name]) == [hit.id for hit in hits]
        assert list(found[name].values()) == pytest.approx([hit.score for hit in hits], rel=1e-6)


def test_a_beir_folder_is_taken_and_its_run_may_be_gzipped(
    saelex: Saelex, index: Path, corpus: Path, tmp_path: Path
) -> None:
    run = tmp_path / "out.trec.gz"
    assert saelex("search", index, "--queries", corpus, "--run", run, "--where", "year>2005").code == 0
    assert {document for answers in read_run(run).values() for document in answers} == {"zip"}
    assert run.read_bytes()[:2] == b"\x1f\x8b"


def test_a_run_is_whole_or_not_at_all(
    saelex: Saelex, index: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "out.trec"
    run.write_text("old\n")
    monkeypatch.setattr(many_queries, "_BATCH", 1)
    whole, searched = Index.search_batch, []

    def stopped(self: Index, queries: list[str], *rest: Any, **options: Any) -> Any:
        if searched:
            raise KeyboardInterrupt
        searched.append(queries)
        return whole(self, queries, *rest, **options)

    monkeypatch.setattr(Index, "search_batch", stopped)
    assert saelex("search", index, "--queries", corpus, "--run", run).code == 130
    assert searched == [["lift of a wing"]] and run.read_text() == "old\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.saelex", "out.trec"]


def test_what_is_wrong_with_a_run_is_said_before_anything_is_loaded(
    saelex: Saelex, corpus: Path, tmp_path: Path
) -> None:
    """There is no index here: none of these come as far as opening it."""
    blanks, empty = tmp_path / "q.tsv", tmp_path / "none.jsonl"
    blanks.write_text("id with blanks\tzip\n")
    empty.write_text("")
    run = tmp_path / "r.trec"
    for arguments, message in (
        (["zip", "--queries", corpus, "--run", run], "give a QUERY, or --queries FILE and --run FILE"),
        ([], "give a QUERY, or --queries FILE and --run FILE"),
        (["--queries", corpus], "give a QUERY, or --queries FILE and --run FILE"),
        (["zip", "--run", run], "give a QUERY, or --queries FILE and --run FILE"),
        (["--queries", corpus, "--run", run, "--explain"], "leave out --explain, --json and --language"),
        (["--queries", corpus, "--run", run, "--json"], "leave out --explain, --json and --language"),
        (["--queries", tmp_path / "no.jsonl", "--run", run], "no.jsonl: no such file or folder"),
        (["--queries", empty, "--run", run], "holds no query"),
        (["--queries", blanks, "--run", run], "the query id"),
        (["--queries", corpus, "--run", tmp_path / "no" / "r.trec"], "cannot be written"),
        (["--queries", corpus, "--run", tmp_path], "cannot be written"),
    ):
        done = saelex("search", tmp_path / "no.saelex", *arguments)
        assert done.code == 2 and message in done.err and done.err.count("\n") == 1, (arguments, done.err)
    assert not run.exists()
