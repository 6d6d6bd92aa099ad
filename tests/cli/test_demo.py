from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import DOCUMENTS, Saelex

from saelex.cli import demo
from saelex.corpus import python_docs
from saelex.corpus.documents import Document
from saelex.index.index import Index


@pytest.fixture
def small_world(monkeypatch: pytest.MonkeyPatch, model: Path, tmp_path: Path) -> list[int]:
    """A tiny model and a handful of documents in place of the real ones; counts how often they are read."""
    reads: list[int] = []

    def documents() -> Iterator[Document]:
        reads.append(1)
        return (Document(str(one["_id"]), str(one["text"]), str(one["title"])) for one in DOCUMENTS)

    monkeypatch.setattr(demo, "DEFAULT_MODEL", str(model))
    monkeypatch.setattr(python_docs, "python_documentation", documents)
    monkeypatch.setenv("SAELEX_CACHE", str(tmp_path / "cache"))
    return reads


def test_the_first_run_indexes_and_the_second_only_searches(
    saelex: Saelex, small_world: list[int], tmp_path: Path
) -> None:
    first = saelex("demo")
    assert first.code == 0 and "indexing the documentation of Python" in first.err
    assert all(f"? {question}" in first.out for question in demo.QUESTIONS["en"])
    assert len(list((tmp_path / "cache" / "demo").iterdir())) == 1
    second = saelex("demo")
    assert (second.out, second.err) == (first.out, "")
    assert len(small_world) == 1


def test_a_question_and_json(saelex: Saelex, small_world: list[int]) -> None:
    saelex("demo")
    answer = json.loads(saelex("demo", "zip archive", "--json", "-k", 2).out)
    assert answer["query"] == "zip archive" and len(answer["hits"]) == 2
    assert list(answer["hits"][0]) == ["rank", "id", "score", "title", "text", "url", "metadata", "explanation"]
    assert [each["query"] for each in json.loads(saelex("demo", "--json").out)] == list(demo.QUESTIONS["en"])


def test_questions_in_other_languages_take_the_multilingual_model(
    saelex: Saelex, small_world: list[int], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "DEFAULT_MODEL", "nothing/here")
    monkeypatch.setattr(demo, "MULTILINGUAL", str(model))
    asked = saelex("demo", "--language", "de")
    assert asked.code == 0 and all(f"? {question}" in asked.out for question in demo.QUESTIONS["de"])
    own = json.loads(saelex("demo", "Wie öffne ich ein Archiv?", "--language", "pt", "--json").out)
    assert own["query"] == "Wie öffne ich ein Archiv?"
    refused = saelex("demo", "--language", "pt")
    assert refused.code == 2 and "no questions in 'pt'" in refused.err


def test_an_interrupted_run_is_completed(
    saelex: Saelex, small_world: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Index, "label", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            saelex("demo", "zip")
    result = saelex("demo", "zip", "--json")
    assert result.code == 0 and len(small_world) == 2
    labels = {row["label"] for hit in json.loads(result.out)["hits"] for row in hit["explanation"]}
    assert not any(label.startswith("latent ") for label in labels)


def test_a_missing_model_is_one_clear_line(saelex: Saelex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "DEFAULT_MODEL", str(tmp_path / "nothing"))
    result = saelex("demo")
    assert result.code == 2 and result.err.startswith("saelex: ") and result.err.count("\n") == 1
