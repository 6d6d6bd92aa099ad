from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from tests.encoder.tiny_encoders import tiny_encoder
from tests.encoder.tiny_models import TEXTS

from saelex.corpus.collection import Collection
from saelex.corpus.opening import read_collection
from saelex.encoder.encoder import Encoder
from saelex.encoder.settings import Side, TopKChoice
from saelex.encoder.words.channel import LexicalChannel
from saelex.errors import InputError
from saelex.evaluation.encoded import JudgedDocuments
from saelex.evaluation.evaluate import Plan, evaluate_collections, evaluate_plan, index_folder
from saelex.evaluation.measures import measure, untied
from saelex.evaluation.report import indexed_examples
from saelex.evaluation.results import Evaluation
from saelex.evaluation.searching import Searcher
from saelex.evaluation.vectors_cache import VectorsCache
from saelex.vectors import SparseRows


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return tiny_encoder(tmp_path_factory.mktemp("evaluate") / "bert")


@pytest.fixture
def cache(tmp_path: Path) -> VectorsCache:
    return VectorsCache(tmp_path / "cache")


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    root = tmp_path / "tiny"
    (root / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "text": text} for i, text in enumerate(TEXTS)] + [{"_id": "empty", "text": ""}]
    queries = [{"_id": "1", "text": "wing lift"}, {"_id": "2", "text": "money in a bank"}]
    (root / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (root / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (root / "qrels" / "test.tsv").write_text("1\td0\t1\n1\td1\t2\n2\td5\t1\n")
    return read_collection(root)


def test_runs_are_the_dot_products_of_the_vectors(
    collection: Collection, encoder: Encoder, cache: VectorsCache
) -> None:
    judged = JudgedDocuments.read(collection)
    found = Searcher(encoder).search(judged, cache)
    texts = [document.content for document in judged.documents]
    queries = judged.questions
    channel = LexicalChannel().fit(texts)
    latents = encoder.encode_query(queries), encoder.encode_document(texts)
    both = tuple(rows.beside(words) for rows, words in zip(latents, (channel.query(queries), channel.document(texts))))
    for name, (query_rows, document_rows) in {"concepts": latents, "concepts+words": both}.items():
        scores = query_rows.dot(document_rows)
        for i, query in enumerate(collection.queries):
            wanted = {judged.documents[j].id: float(scores[i, j]) for j in np.flatnonzero(scores[i])}
            assert found[name].run[query.id] == pytest.approx(wanted, rel=2e-3)
        costs = found[name].costs
        assert costs is not None
        assert costs.query_active == pytest.approx(query_rows.lengths.mean())
        assert costs.document_active == pytest.approx(document_rows.lengths.mean(), abs=0.3)
        shared = (query_rows.to_dense() > 0).astype(float) @ (document_rows.to_dense() > 0).T
        assert costs.qd_flops == pytest.approx(shared.mean(), abs=0.3)
        used = (document_rows.to_dense()[:, : encoder.n_latents] > 0).any(0).mean()
        assert costs.latents_used == pytest.approx(used, abs=0.02)


GERMAN = ["Die Häuser stehen am Fluss.", "Der Fluss fließt durch das Tal.", "Im Winter schneit es."]


def test_the_language_decides_what_words_match(tmp_path: Path, encoder: Encoder, cache: VectorsCache) -> None:
    """ "Haus" finds "Häuser" by German's rules alone: in BM25, and beside concepts."""
    root = tmp_path / "german"
    (root / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "text": text} for i, text in enumerate(GERMAN)]
    (root / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (root / "queries.jsonl").write_text(json.dumps({"_id": "1", "text": "Wie ist das Haus"}))
    (root / "qrels" / "test.tsv").write_text("1\td0\t1\n")
    found = {}
    for language in ("en", "de"):  # one cache for both
        evaluation = evaluate_collections(
            [read_collection(root)], encoder, against=["bm25"], language=language, cache=cache
        )
        assert evaluation.facts["language"] == language
        found[language] = evaluation.collections[0]
    bm25 = {language: result.system("bm25").run["1"] for language, result in found.items()}
    assert list(bm25["de"]) == ["d0"] and list(bm25["en"]) == ["d1"]  # of English, "das" is a word like any other
    searched = {
        language: Searcher(encoder).search(JudgedDocuments.read(read_collection(root), language), cache)
        for language in found
    }
    word_score = {
        language: runs["concepts+words"].run["1"].get("d0", 0) - runs["concepts"].run["1"].get("d0", 0)
        for language, runs in searched.items()
    }
    idf, length = np.log1p((3 - 1 + 0.5) / (1 + 0.5)), 3 / ((3 + 3 + 2) / 3)  # haus steh fluss; fluss fließt tal; ...
    assert word_score["de"] == pytest.approx(idf / (1 + 0.9 * (0.6 + 0.4 * length)), rel=5e-3)
    assert word_score["en"] == pytest.approx(0, abs=1e-3)  # the step of the stored integers
    with pytest.raises(InputError, match="unknown language 'xx'"):
        Plan.of(encoder, language="xx")
    with pytest.raises(InputError, match="unknown language 'xx'"):
        JudgedDocuments.read(read_collection(root), "xx")


def test_an_encoding_is_never_repeated_and_speeds_are_always_known(
    collection: Collection, encoder: Encoder, cache: VectorsCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate_collections([collection], encoder, cache=cache).collections[0].system("concepts")
    encode = encoder.encode

    def sampled(texts: list[str], *, side: Side, top_k: TopKChoice = "default", **_: object) -> SparseRows:
        assert top_k == "default", "encoded again: only what is kept is encoded whole"
        return encode(texts, side=side, top_k=top_k)

    monkeypatch.setattr(encoder, "encode", sampled)
    again = evaluate_collections([collection], encoder, cache=cache).collections[0].system("concepts")
    assert again.run == first.run
    for costs in (first.costs, again.costs):
        assert costs is not None and costs.latency_ms is not None and costs.end_to_end_ms is not None
        assert costs.encode_documents_per_s is not None and costs.encode_documents_per_s > 0
        assert costs.encode_queries_per_s is not None and costs.encode_queries_per_s > 0
        assert (costs.end_to_end_ms.k, costs.end_to_end_ms.queries) == (10, 2)
        assert costs.end_to_end_ms.p50 > costs.latency_ms.p50  # the same search, after an encoding
    before = encoder.settings
    try:
        encoder.settings = replace(before, query_top_k=2, document_top_k=3)  # a cut of the same vectors
        (cut,) = evaluate_collections([collection], encoder, cache=cache).collections
    finally:
        encoder.settings = before
    costs = cut.system("concepts").costs
    assert costs is not None and costs.query_active == 2 and costs.document_active <= 3


def test_systems_are_measured_per_query_and_compared(
    collection: Collection, encoder: Encoder, cache: VectorsCache, tmp_path: Path
) -> None:
    (tmp_path / "tiny.trec").write_text("1 Q0 d1 1 9 other\n1 Q0 d0 2 8 other\n")
    evaluation = evaluate_collections(
        [collection, replace(collection, split="dev")],
        encoder,
        against=["bm25"],
        runs={"other": tmp_path / "{set}.trec"},
        cache=cache,
        command="saelex evaluate tiny",
    )
    assert evaluation.systems == ["bm25", "other", "concepts", "concepts+words"]
    result = evaluation.collections[0]
    assert (result.name, result.split, result.n_queries, result.n_documents) == ("tiny", "test", 2, len(TEXTS))
    other = result.system("other")
    assert other.per_query == {
        "nDCG@10": {"1": pytest.approx(1.0), "2": 0.0},
        "MRR@10": {"1": 1.0, "2": 0.0},
        "R@100": {"1": 1.0, "2": 0.0},
    }
    assert other.measures["nDCG@10"] == pytest.approx(0.5) and other.costs is None
    assert other.run == untied({"1": {"d1": 9.0, "d0": 8.0}})
    for one in result.systems:
        assert one.measures == pytest.approx(measure(collection.qrels, one.run))
    assert [(one.first, one.second) for one in result.comparisons] == 3 * [
        ("other", "bm25"),
        ("concepts", "bm25"),
        ("concepts+words", "bm25"),
    ]
    one, bm25 = (list(result.system(name).per_query["nDCG@10"].values()) for name in ("other", "bm25"))
    assert one != bm25
    compared = result.comparison("nDCG@10", "other", "bm25")
    assert compared is not None and compared.difference == pytest.approx(np.mean(one) - np.mean(bm25))
    assert compared.t_p == pytest.approx(float(stats.ttest_rel(one, bm25).pvalue))
    assert evaluation.means()["concepts"] == pytest.approx(result.system("concepts").measures)
    assert evaluation.facts["reference"] == "bm25" and evaluation.facts["depth"] == 100
    assert list(evaluation.facts["collections"]) == ["tiny:test", "tiny:dev"]
    assert evaluation.facts["collections"]["tiny:test"]["source"] == str(tmp_path / "tiny")
    assert evaluation.facts["systems"]["concepts+words"] | {"settings": {}} == {
        "kind": "encoder",
        "model": "bert",
        "fingerprint": encoder.fingerprint,
        "top_k": "7/20",
        "words": True,
        "settings": {},
        "dtype": "float32",
        "device": "cpu",
    }
    assert Evaluation.from_json(json.loads(json.dumps(evaluation.to_json()))) == evaluation


def test_what_was_read_is_told_by_a_digest(collection: Collection, encoder: Encoder, cache: VectorsCache) -> None:
    def digest_of(one: Collection) -> str:
        facts = evaluate_collections([one], encoder, cache=cache).facts
        return str(facts["collections"][one.label]["sha256"])

    first = digest_of(collection)
    documents = list(collection.documents())
    assert digest_of(replace(collection, name="moved", read_documents=lambda: reversed(documents))) == first
    grades = collection.qrels | {"1": {"d0": 2, "d1": 2}}
    other = [replace(documents[0], text=documents[0].text + "!"), *documents[1:]]
    changed = replace(collection, qrels=grades), replace(collection, read_documents=lambda: iter(other))
    assert len({first, *map(digest_of, changed)}) == 3


def test_a_blank_query_finds_nothing(collection: Collection, encoder: Encoder, cache: VectorsCache) -> None:
    blank = replace(collection, queries=[replace(collection.queries[0], text=" "), collection.queries[1]])
    (result,) = evaluate_collections([blank], encoder, against=["bm25"], cache=cache).collections
    for one in result.systems:
        assert not one.run.get("1") and one.per_query["nDCG@10"]["1"] == 0
        assert one.run["2"]


def test_another_encoder_is_two_systems_more(collection: Collection, encoder: Encoder, tmp_path: Path) -> None:
    cache = VectorsCache(tmp_path / "cache")
    other = tiny_encoder(tmp_path / "other", query_top_k=3)
    evaluation = evaluate_collections([collection], encoder, against=[other], measures=["AP", "P@1"], cache=cache)
    assert evaluation.systems == ["other", "other+words", "concepts", "concepts+words"]
    assert evaluation.facts["reference"] == "other" and evaluation.facts["depth"] == 1000
    result = evaluation.collections[0]
    assert list(result.systems[0].measures) == ["AP", "P@1"]
    costs = result.system("other").costs
    assert costs is not None and costs.query_active <= 3
    alone = evaluate_collections([collection], other, measures=["AP", "P@1"], cache=cache).collections[0]
    assert alone.system("concepts").per_query == result.system("other").per_query
    assert alone.comparison("AP", "concepts+words", "concepts") is not None  # nothing else to compare with


def test_indexes_that_stay_explain_single_queries(
    collection: Collection, encoder: Encoder, cache: VectorsCache, tmp_path: Path
) -> None:
    plan = Plan.of(encoder, against=["bm25"])
    evaluation = evaluate_plan(plan, [collection], cache=cache, indexes=tmp_path / "indexes")
    assert index_folder(tmp_path / "indexes", 0, plan.searchers[0]).is_dir()
    examples = indexed_examples(evaluation, [collection], plan.searchers, tmp_path / "indexes")
    assert examples is not None and examples.second == "bm25"
    (of_set,) = examples.collections
    hits = [hit for query in (*of_set.gains, *of_set.losses) for hit in query.hits]
    assert hits and {hit.system for hit in hits} == {examples.first}
    for hit in hits:
        assert hit.explanation.document_id == hit.id
        reasons = hit.explanation.contributions
        assert sum(one.contribution for one in reasons) == pytest.approx(hit.explanation.score)
        # vectors of the cache know no tokens, so the passage that is explained is encoded again
        assert all(one.fired_document and one.fired_query for one in reasons)


def test_names_that_cannot_be(collection: Collection, encoder: Encoder, cache: VectorsCache, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown baseline 'splade'; choose one of bm25, dense, rrf"):
        evaluate_collections([collection], encoder, against=["splade"], cache=cache)
    with pytest.raises(InputError, match="no dense baseline"):
        evaluate_collections([collection], encoder, against=["rrf"], cache=cache)
    with pytest.raises(InputError, match="two systems are called 'bm25'"):
        evaluate_collections([collection], encoder, against=["bm25"], runs={"bm25": "x"}, cache=cache)
    with pytest.raises(InputError, match="no system 'dense' to compare with; there are bm25, concepts"):
        evaluate_collections([collection], encoder, against=["bm25"], reference="dense", cache=cache)
    (tmp_path / "far.trec").write_text("77 Q0 d1 1 9 other\n")
    with pytest.raises(InputError, match="far answers no query of tiny"):
        evaluate_collections([collection], encoder, runs={"far": tmp_path / "far.trec"}, cache=cache)
    with pytest.raises(InputError, match="two collections are called tiny:test"):
        evaluate_collections([collection, collection], encoder, cache=cache)
    empty = replace(collection, read_documents=lambda: iter(()))
    with pytest.raises(InputError, match="no document holds a text"):
        evaluate_collections([empty], encoder, cache=cache)
