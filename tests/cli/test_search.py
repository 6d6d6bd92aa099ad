from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import pytest
from tests.cli.conftest import Saelex

from saelex.cli.options import read_where
from saelex.errors import InputError
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
