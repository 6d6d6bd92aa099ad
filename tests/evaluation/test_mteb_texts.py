from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from saelex.corpus.documents import Document
from saelex.errors import InputError
from saelex.evaluation.measures import untied
from saelex.evaluation.mteb.texts import Corpus, check_task, query_texts, untie

datasets = pytest.importorskip("datasets", reason="datasets is not installed: pip install 'saelex[hub-data]'")


def test_a_corpus_is_its_documents_by_id_with_titles_joined_and_blank_ones_left_out() -> None:
    rows = datasets.Dataset.from_dict(
        {
            "id": ["d9", "d10", "d2", "d3"],
            "title": ["Wings", None, "", " "],
            "text": ["create lift", "banks flood", None, "  "],
            "image": [1, 2, 3, 4],
        }
    )
    corpus = Corpus(rows, "Tiny")
    for _ in range(2):
        assert list(corpus) == [Document("d10", "banks flood", ""), Document("d9", "create lift", "Wings")]
    assert [document.content for document in corpus] == ["banks flood", "Wings create lift"]
    assert corpus.blank == {"d2", "d3"}
    numbered = Corpus(datasets.Dataset.from_dict({"id": [10, 9], "text": ["ten", "nine"]}), "Tiny")
    assert [document.id for document in numbered] == ["10", "9"]  # as strings
    with pytest.raises(InputError, match=r"corpus of Tiny has no column 'text' but id, image"):
        Corpus(rows.select_columns(["id", "image"]), "Tiny")


def test_queries_with_instructions_and_conversations_read_as_mteb_gives_them_to_other_models() -> None:
    plain = {"id": ["1", "2"], "text": ["what makes lift?", None]}
    assert query_texts(datasets.Dataset.from_dict(plain), "Tiny") == {"1": "what makes lift?", "2": ""}
    instructed = datasets.Dataset.from_dict(plain | {"instruction": ["Only of aircraft.", None]})
    assert query_texts(instructed, "Tiny") == {"1": "what makes lift? Only of aircraft.", "2": ""}
    turns = [[{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Yes?"}]]
    talk = datasets.Dataset.from_dict({"id": [7], "text": turns, "instruction": ["Be brief."]})
    assert query_texts(talk, "Tiny") == {"7": "Be brief. user: Hello; assistant: Yes?"}
    assert query_texts(datasets.Dataset.from_dict({"id": ["7"], "text": [["a", "b"]]}), "Tiny") == {"7": "a; b"}


def test_scores_come_apart_in_the_order_of_the_projects_rule_and_hardly_move() -> None:
    scores = {"c": 2.0, "b": 2.0, "a": 1e-9, "z": 2.0000000001, "f": 0.0, "e": 0.0, "d": 0.0}
    apart = untie(scores, 6)
    assert list(apart) == list(untied({"q": scores}, 6)["q"]) == ["z", "b", "c", "a", "d", "e"]
    singles = np.array(list(apart.values()), np.float32)
    assert np.all(np.diff(singles) < 0)
    assert not np.any((singles != 0) & (np.abs(singles) < np.finfo(np.float32).tiny))  # none that may be flushed to 0
    assert apart == pytest.approx({name: scores[name] for name in apart}, rel=1e-6, abs=1e-20)
    # what sorts ties by falling ids, as mteb does, has none left
    assert sorted(apart, key=lambda name: (np.float32(apart[name]), name), reverse=True) == list(apart)
    assert untie({"b": 0.5, "a": 0.25}, 10) == {"b": 0.5, "a": 0.25}
    assert untie({}, 10) == {}


@pytest.mark.parametrize(
    ("kind", "modalities", "message"),
    [
        ("Classification", ["text"], "Tiny is a task of Classification"),
        ("STS", ["text"], "Tiny is a task of STS"),
        ("Any2AnyRetrieval", ["text", "image"], "Tiny is about image; saelex reads text alone"),
    ],
)
def test_other_tasks_are_refused(kind: str, modalities: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_task(SimpleNamespace(name="Tiny", type=kind, modalities=modalities))


@pytest.mark.parametrize("kind", ["Retrieval", "Reranking", "InstructionRetrieval", "InstructionReranking"])
def test_retrieval_and_reranking_of_text_are_taken(kind: str) -> None:
    check_task(SimpleNamespace(name="Tiny", type=kind, modalities=["text"]))
