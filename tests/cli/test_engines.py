from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.cli.conftest import Saelex
from tests.engines.stubs import LuceneStub, serving

from saelex.files import cache_folder


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAELEX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def url() -> object:
    with serving(LuceneStub("opensearch")) as port:
        yield f"opensearch://127.0.0.1:{port}/notes"


def test_push_search_and_pull(saelex: Saelex, index: Path, url: str, tmp_path: Path) -> None:
    pushed = saelex("push", index, url)
    assert (pushed.code, pushed.out) == (0, f"{url}: 4 documents in 4 passages; 4 sent\n"), pushed.err
    here = json.loads(saelex("search", index, "lift of a wing", "--json").out)["hits"]
    there = json.loads(saelex("search", url, "lift of a wing", "--json").out)["hits"]
    for one, other in zip(here, there):
        assert other["score"] == pytest.approx(one["score"], rel=0.01)
        assert {**other, "score": 0, "explanation": 0} == {**one, "score": 0, "explanation": 0}
        assert [row["label"] for row in other["explanation"]] == [row["label"] for row in one["explanation"]]
    filtered = saelex(
        "search", url, "lift bank river", "--where", "year>=1990", "--boost", "word:river=50", "--explain"
    )
    assert filtered.code == 0 and "River" in filtered.out and "boost x50" in filtered.out
    assert "wing of an aircraft" not in filtered.out
    pulled = saelex("pull", url, tmp_path / "back.saelex")
    assert (pulled.code, pulled.out) == (0, f"{tmp_path / 'back.saelex'}: 4 documents\n"), pulled.err
    back = json.loads(saelex("search", tmp_path / "back.saelex", "lift of a wing", "--json").out)["hits"]
    assert back == here


def test_a_corpus_is_pushed_and_evaluated(saelex: Saelex, corpus: Path, model: Path, url: str) -> None:
    pushed = saelex("push", corpus, url, "--model", model)
    assert pushed.code == 0 and "4 documents in 4 passages; 4 sent" in pushed.out, pushed.err
    assert list((cache_folder() / "push").iterdir()) == []
    table = saelex("evaluate", corpus, "--model", model, "--engine", url, "--json")
    assert table.code == 0, table.err
    rows = {row["system"]: row for row in json.loads(table.out)}
    for system, ours in (("opensearch", "concepts"), ("opensearch+words", "concepts+words")):
        assert rows[system]["nDCG@10"] == pytest.approx(rows[ours]["nDCG@10"], abs=1e-6)


def test_a_push_of_a_corpus_goes_on(saelex: Saelex, corpus: Path, model: Path, url: str) -> None:
    gone = "opensearch://127.0.0.1:9/notes"
    failed = saelex("push", corpus, gone, "--model", model, "--patience", 0)
    assert failed.code == 2 and "does not answer" in failed.err and failed.out == ""
    (folder,) = (cache_folder() / "push").iterdir()
    assert (folder / "catalog.sqlite").is_file()  # what was encoded is there for the next try
    again = saelex("push", corpus, gone, "--model", model, "--patience", 0)
    assert f"going on with what was encoded before, in {folder}" in again.err


def test_what_is_refused(saelex: Saelex, index: Path, corpus: Path, model: Path, url: str) -> None:
    for arguments, message in (
        (("push", index, "solr://host/notes"), "unknown engine 'solr'"),
        (("push", "-", url), "standard input"),
        (("search", url, "wing"), "no such collection"),
        (("search", url, "wing", "--mode", "capped"), "--mode is of an index on disk"),
        (("pull", url, corpus), "no such collection"),
        (("evaluate", corpus, "--model", model, "--engine", url, "--engine", url), "two engines of one kind"),
    ):
        result = saelex(*arguments)
        assert result.code == 2 and message in result.err and len(result.err.splitlines()) == 1, result.err
    saelex("push", index, url)
    shorter = corpus.parent / "shorter"
    if not shorter.exists():
        shutil.copytree(corpus, shorter)
        lines = (shorter / "corpus.jsonl").read_text().splitlines(keepends=True)
        (shorter / "corpus.jsonl").write_text("".join(lines[:-1]))
    result = saelex("evaluate", shorter, "--model", model, "--engine", url)
    assert result.code == 2 and "holds 4 documents, and shorter has 3; push the collection to it first" in result.err
    nothing = saelex("pull", url, index)
    assert nothing.code == 2 and "exists already" in nothing.err and (index / "catalog.sqlite").is_file()
