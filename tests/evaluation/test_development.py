from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.encoder.tiny_encoders import tiny_encoder
from tests.encoder.tiny_models import TEXTS

from saelex.corpus.collection import Collection
from saelex.corpus.opening import read_collection
from saelex.encoder.encoder import Encoder
from saelex.encoder.words.channel import LexicalChannel
from saelex.errors import InputError
from saelex.evaluation.development import DevelopmentSet
from saelex.evaluation.efficiency import qd_flops


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return tiny_encoder(tmp_path_factory.mktemp("progress") / "bert")


def _collection(root: Path, *, reverse: bool = False) -> Collection:
    (root / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "text": text} for i, text in enumerate(TEXTS * 3)] + [{"_id": "empty", "text": ""}]
    queries = [{"_id": f"q{i}", "text": text} for i, text in enumerate(["wing lift", "money in a bank", "air", "wing"])]
    order = -1 if reverse else 1
    (root / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents[::order])))
    (root / "queries.jsonl").write_text("\n".join(map(json.dumps, queries[::order])))
    # q3 has nothing to find: its only relevant document is empty
    (root / "qrels" / "dev.tsv").write_text("q0\td0\t1\nq0\td1\t2\nq0\td2\t0\nq1\td5\t1\nq2\td0\t1\nq3\tempty\t1\n")
    return read_collection(root, "dev")


def test_the_sample_has_the_relevant_documents_and_does_not_depend_on_the_files_order(tmp_path: Path) -> None:
    one, other = _collection(tmp_path / "one"), _collection(tmp_path / "other", reverse=True)
    samples = [DevelopmentSet([each], queries=2, documents=6, seed=1).samples[0] for each in (one, other)]
    assert samples[0].queries == samples[1].queries
    assert samples[0].documents == samples[1].documents
    ids = [document.id for document in samples[0].documents]
    assert len(ids) == len(set(ids)) == 6
    assert ids == sorted(ids)
    assert len(samples[0].queries) == 2
    for query in samples[0].queries:
        assert {document for document, grade in one.qrels[query.id].items() if grade} <= set(ids)
    few = DevelopmentSet([one], queries=9, documents=1).samples[0]
    assert {query.id for query in few.queries} == {"q0", "q1", "q2"}
    assert [document.id for document in few.documents] == ["d0", "d1", "d5"]


def test_words_are_of_the_language_named(tmp_path: Path, encoder: Encoder) -> None:
    """Plain words find no "wing" in "wings" and English does."""
    root = tmp_path / "plurals"
    (root / "qrels").mkdir(parents=True)
    (root / "corpus.jsonl").write_text('{"_id": "a", "text": "a bank"}\n{"_id": "b", "text": "wings"}\n')
    (root / "queries.jsonl").write_text('{"_id": "q", "text": "wing"}\n')
    (root / "qrels" / "dev.tsv").write_text("q\tb\t1\n")
    words = {
        language: DevelopmentSet([read_collection(root, "dev")], queries=1, documents=2, words=language)
        .samples[0]
        .words
        for language in (True, "en", "none")
    }
    scores = {language: rows[0].dot(rows[1])[0].tolist() for language, rows in words.items() if rows}
    # [a, b]; "a bank" keeps one word in English, and one in plain words, whose "a" is a lone letter
    idf = np.log1p((2 - 1 + 0.5) / (1 + 0.5))
    assert scores == {True: scores["en"], "en": pytest.approx([0, idf / 1.9], rel=1e-5), "none": [0, 0]}
    with pytest.raises(InputError, match="unknown language 'xx'"):
        DevelopmentSet([read_collection(root, "dev")], queries=1, documents=2, words="xx")


def test_measures_equal_those_of_dense_products(tmp_path: Path, encoder: Encoder) -> None:
    collections = [_collection(tmp_path / "one"), _collection(tmp_path / "two")]
    encoder.settings = replace(encoder.settings, query_top_k=6, document_top_k=12, word_scale=50.0)
    found = DevelopmentSet(collections, queries=3, documents=100, words=True)(encoder)
    documents = sorted((one for one in collections[0].documents() if one.content), key=lambda one: one.id)
    texts, asked = [one.content for one in documents], ["wing lift", "money in a bank", "air"]
    queries, rows = encoder.encode_query(asked, top_k=6), encoder.encode_document(texts, top_k=12)
    concepts = queries.to_dense() @ rows.to_dense().T
    channel = LexicalChannel().fit(texts)
    words = channel.query(asked).to_dense() @ channel.document(texts).to_dense().T
    ids = np.array([one.id for one in documents])
    wanted = {"": _ndcg(concepts, ids), " with words": _ndcg(concepts + 50 * words, ids)}
    assert wanted[""] != wanted[" with words"]
    for suffix, value in wanted.items():
        for name in ("", " one:dev", " two:dev"):
            assert found[f"nDCG@10{suffix}{name}"] == pytest.approx(value, abs=1e-6)
    assert found["QD-FLOPs"] == pytest.approx(qd_flops(queries, rows))
    assert found["active latents, query"] == pytest.approx((queries.to_dense() > 0).sum(1).mean())
    assert found["active latents, document"] == pytest.approx((rows.to_dense() > 0).sum(1).mean())
    assert len(found) == 2 * 3 + 3


def _ndcg(scores: np.ndarray, ids: np.ndarray) -> float:
    """nDCG@10 with linear gains; equal scores by ascending id."""
    relevant: list[dict[str, int]] = [{"d0": 1, "d1": 2}, {"d5": 1}, {"d0": 1}]
    values = []
    for row, grades in zip(scores, relevant):
        best = [ids[j] for j in np.lexsort((ids, -row)) if row[j] > 0][:10]
        gain = sum(grades.get(name, 0) / math.log2(rank + 2) for rank, name in enumerate(best))
        ideal = sum(grade / math.log2(rank + 2) for rank, grade in enumerate(sorted(grades.values(), reverse=True)))
        values.append(gain / ideal)
    return sum(values) / len(values)


def test_refused_and_named(tmp_path: Path, encoder: Encoder) -> None:
    one = _collection(tmp_path / "a" / "same")
    with pytest.raises(InputError, match="at least 1 query"):
        DevelopmentSet([one], queries=0, documents=10)
    with pytest.raises(InputError, match="at least one collection"):
        DevelopmentSet([], queries=1, documents=10)
    nothing = replace(one, qrels={"q3": one.qrels["q3"]}, queries=[query for query in one.queries if query.id == "q3"])
    with pytest.raises(InputError, match="no query of dev has a relevant document"):
        DevelopmentSet([nothing], queries=1, documents=10)
    both = DevelopmentSet([one, _collection(tmp_path / "b" / "same")], queries=1, documents=3)(encoder)
    assert f"nDCG@10 {tmp_path / 'a' / 'same'}:dev" in both
