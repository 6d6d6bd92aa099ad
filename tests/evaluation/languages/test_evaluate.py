from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tests.encoder.tiny_encoders import tiny_encoder
from tests.evaluation.languages.toy import DOCUMENTS, QRELS, QUERIES, write_languages

from saelex.corpus.documents import Run
from saelex.corpus.opening import read_collection
from saelex.encoder.dense.backbone_embedder import BackboneEmbedder
from saelex.encoder.dense.embedder import load_embedder
from saelex.encoder.encoder import Encoder
from saelex.encoder.words.analyser import WordAnalyser
from saelex.errors import InputError
from saelex.evaluation.evaluate import Plan, evaluate_collections
from saelex.evaluation.languages.evaluate import evaluate_languages
from saelex.evaluation.languages.latents import jaccard
from saelex.evaluation.languages.matrix import LanguageEvaluation, groups_of
from saelex.evaluation.languages.sets import LanguageSet
from saelex.evaluation.measures import measure
from saelex.evaluation.results import CollectionResult
from saelex.evaluation.vectors_cache import VectorsCache

AGAINST = ["bm25", "dense", "rrf"]
CODES = ["de", "en", "tlh"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_languages(tmp_path_factory.mktemp("languages") / "toy")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """Over a tiny BERT that says of itself how it embeds sentences."""
    folder = tmp_path_factory.mktemp("languages") / "bert"
    encoder = tiny_encoder(folder)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    listed = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in modules]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    return encoder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> VectorsCache:
    return VectorsCache(tmp_path_factory.mktemp("languages") / "cache")


@pytest.fixture(scope="module")
def found(toy: Path, encoder: Encoder, cache: VectorsCache) -> LanguageEvaluation:
    plan = Plan.of(encoder, against=AGAINST, reference="dense")
    return evaluate_languages(plan, [LanguageSet.read(str(toy), "all")], mixed=True, cache=cache)


@pytest.fixture(scope="module")
def pairs(toy: Path, encoder: Encoder, cache: VectorsCache) -> dict[tuple[str, str], CollectionResult]:
    """Some pairs as collections of their own."""
    results = {}
    for query, document in [("de", "de"), ("de", "en"), ("tlh", "en"), ("en", "de")]:
        name = f"{toy}/{query}" if query == document else f"{toy}/{query}+{toy}/{document}"
        language = document if document != "tlh" else "auto"
        (results[query, document],) = evaluate_collections(
            [read_collection(name)], encoder, against=AGAINST, language=language, cache=cache
        ).collections
    return results


def test_every_cell_is_the_pair_as_a_collection(
    found: LanguageEvaluation, pairs: dict[tuple[str, str], CollectionResult]
) -> None:
    (matrix,) = found.matrices
    assert list(matrix.cells) == [(query, document) for query in CODES for document in CODES]
    assert (matrix.name, matrix.n_queries, matrix.n_documents) == ("toy:test", 3, dict.fromkeys(CODES, 5))
    assert matrix.words == {"de": "de", "en": "en", "tlh": "auto"}
    for pair, result in pairs.items():
        assert list(matrix.cells[pair]) == [*AGAINST, "concepts", "concepts+words"]
        for system, measures in matrix.cells[pair].items():
            if pair[0] == pair[1] or system not in ("bm25", "rrf"):
                assert measures == pytest.approx(result.system(system).measures), (pair, system)
    bm25 = matrix.values("bm25", "nDCG@10")
    assert bm25["de", "de"] > bm25["tlh", "de"]
    assert len({round(value, 6) for value in matrix.values("concepts", "nDCG@10").values()}) > 3


def test_bm25_cuts_queries_and_documents_by_their_own_rules(
    found: LanguageEvaluation, pairs: dict[tuple[str, str], CollectionResult], toy: Path
) -> None:
    """Against BM25's formula, k1 0.9, b 0.4."""
    qrels = read_collection(toy / "en").qrels
    for query, document in (("de", "en"), ("en", "de")):
        texts = [Counter(WordAnalyser(document).terms(text)) for text in DOCUMENTS[document]]
        mean_length = np.mean([one.total() for one in texts])
        run: Run = {}
        for number, question in enumerate(QUERIES[query], start=1):
            scores = {f"d{i}": 0.0 for i in range(len(texts))}
            for term in WordAnalyser(query).terms(question):
                df = sum(term in one for one in texts)
                for i, one in enumerate(texts):
                    norm = 0.9 * (0.6 + 0.4 * one.total() / mean_length)
                    scores[f"d{i}"] += np.log(1 + (len(texts) - df + 0.5) / (df + 0.5)) * one[term] / (one[term] + norm)
            run[f"q{number}"] = {name: score for name, score in scores.items() if score}
        assert found.matrices[0].cells[query, document]["bm25"] == pytest.approx(measure(qrels, run))
    of_pair = pairs["en", "de"].system("bm25").measures["nDCG@10"]  # to German rules, "the" is a word like any other
    assert found.matrices[0].cells["en", "de"]["bm25"]["nDCG@10"] != pytest.approx(of_pair)


def test_means_are_tested_over_queries_with_their_translations(
    found: LanguageEvaluation, pairs: dict[tuple[str, str], CollectionResult]
) -> None:
    groups = {one.name: one for one in found.matrices[0].groups}
    assert {name: len(one.pairs) for name, one in groups.items()} == {
        "monolingual": 3, "into English": 2, "out of English": 2, "cross-lingual": 6, "all": 9,
    }  # fmt: skip
    for group in groups.values():
        cells = [found.matrices[0].cells[pair] for pair in group.pairs]
        for system, measures in group.measures.items():
            assert measures["R@100"] == pytest.approx(np.mean([cell[system]["R@100"] for cell in cells]))
    group = groups["into English"]
    assert group.pairs == [("de", "en"), ("tlh", "en")]
    per_query = {
        system: np.array([
            np.mean([pairs[pair].system(system).per_query["nDCG@10"][query] for pair in group.pairs])
            for query in ("q1", "q2", "q3")
        ])
        for system in found.systems
    }  # fmt: skip
    for system, values in per_query.items():
        assert group.measures[system]["nDCG@10"] == pytest.approx(values.mean())
    compared = group.comparison("nDCG@10", "concepts", "dense")
    assert compared is not None
    assert compared.difference == pytest.approx(float((per_query["concepts"] - per_query["dense"]).mean()))
    assert compared.t_p == pytest.approx(stats.ttest_rel(per_query["concepts"], per_query["dense"]).pvalue)
    assert group.comparison("nDCG@10", "dense", "dense") is None


def test_groups_without_pairs_and_equal_ones_are_left_out() -> None:
    assert list(groups_of([("de", "en"), ("es", "en")])) == ["into English"]
    assert list(groups_of([("de", "de")])) == ["monolingual"]
    assert list(groups_of([("de", "de"), ("de", "fr")])) == ["monolingual", "cross-lingual", "all"]


def test_each_language_is_encoded_and_embedded_once(
    toy: Path, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: Counter[tuple[str, str]] = Counter()

    def counting(name: str, function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            texts: Sequence[str] = next(one for one in arguments if isinstance(one, (list, tuple)))
            seen.update((name, text) for text in texts)
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(encoder, "encode", counting("encode", encoder.encode))
    monkeypatch.setattr(BackboneEmbedder, "embed", counting("embed", BackboneEmbedder.embed))
    plan, sets = Plan.of(encoder, against=AGAINST), [LanguageSet.read(str(toy), "de,en/all")]
    cache = VectorsCache(tmp_path / "cache")
    first = evaluate_languages(plan, sets, mixed=True, cache=cache)
    texts = [*QUERIES["de"], *QUERIES["en"], *(text for of in DOCUMENTS.values() for text in of)]
    ours = [(name, text) for name in ("encode", "embed") for text in texts]  # an index encodes probes of its own
    assert {key: seen[key] for key in ours} == dict.fromkeys(ours, 1)
    seen.clear()
    again = evaluate_languages(plan, sets, mixed=True, cache=cache)
    assert not any(seen[key] for key in ours) and again.matrices == first.matrices


def test_one_index_of_all_languages(found: LanguageEvaluation, encoder: Encoder) -> None:
    """Against the cosines of all texts; ids are as they sort: de/d0, ..., en/d0, ..."""
    mixed = found.matrices[0].mixed
    assert mixed is not None and mixed.places == 10
    embedder = load_embedder(encoder.backbone.model_id)
    ids = [f"{code}/d{i}" for code in CODES for i in range(5)]
    rows = embedder.embed([text for code in CODES for text in DOCUMENTS[code]], "document")
    qrels: dict[str, dict[str, int]] = {}
    for query, document, grade in QRELS:
        qrels.setdefault(query, {}).update({f"{code}/{document}": grade for code in CODES})
    for code in CODES:
        cosines = embedder.embed(QUERIES[code], "query") @ rows.T
        run = {f"q{i}": dict(zip(ids, map(float, row))) for i, row in enumerate(cosines, start=1)}
        assert mixed.measures[code]["dense"] == pytest.approx(measure(qrels, run))
        places = Counter(ids[i][:-3] for row in cosines for i in np.argsort(-row)[:10])
        assert mixed.shares["dense"][code] == pytest.approx({one: places[one] / 30 for one in CODES})
        for shares in mixed.shares.values():
            assert sum(shares[code].values()) == pytest.approx(1)
    assert mixed.shares["bm25"]["de"]["de"] > mixed.shares["bm25"]["en"]["de"]


def test_latents_of_translations(found: LanguageEvaluation, encoder: Encoder) -> None:
    latents = found.matrices[0].latents["concepts"]
    assert latents.documents == 5 and list(latents.bound) == CODES
    for one in latents.overlaps:
        first, second = (encoder.encode_document(DOCUMENTS[code]) for code in (one.first, one.second))
        assert one.translations == pytest.approx(jaccard(first, second).mean())


def test_what_is_needed_to_repeat_it(found: LanguageEvaluation, toy: Path) -> None:
    assert found.facts["reference"] == "dense" and found.facts["measures"][0] == "nDCG@10"
    words = {"de": "de", "en": "en", "tlh": "auto"}
    assert found.facts["language"] == {"toy:test": {"bm25": words, "index": words}}
    of_german = found.facts["collections"]["toy:test de"]
    assert of_german["source"] == str(toy / "de")
    assert of_german["queries_sha256"] != found.facts["collections"]["toy:test en"]["queries_sha256"]
    values = json.loads(json.dumps(found.to_json()))
    assert values["format"] == "saelex-languages/1"
    cell = values["sets"][0]["cells"][1]
    assert (cell["query_language"], cell["document_language"]) == ("de", "en")
    assert cell["systems"] == found.matrices[0].cells["de", "en"]


def test_runs_of_other_systems_are_read_for_each_pair(
    toy: Path, encoder: Encoder, cache: VectorsCache, tmp_path: Path
) -> None:
    for name, best in (("de", "d0"), ("en", "d0"), ("de+en", "d4"), ("en+de", "d4")):
        (tmp_path / f"{name}.trec").write_text(f"q1 Q0 {best} 1 9 other\n")
    plan = Plan.of(encoder, runs={"other": tmp_path / "{set}.trec"}, measures=["P@1"])
    (matrix,) = evaluate_languages(plan, [LanguageSet.read(str(toy), "de,en")], cache=cache).matrices
    assert {pair: of["P@1"] for pair, of in ((p, c["other"]) for p, c in matrix.cells.items())} == {
        ("de", "de"): pytest.approx(1 / 3), ("de", "en"): 0, ("en", "de"): 0, ("en", "en"): pytest.approx(1 / 3),
    }  # fmt: skip
    assert matrix.mixed is None


def test_sets_that_cannot_be(toy: Path, encoder: Encoder, cache: VectorsCache) -> None:
    plan, named = Plan.of(encoder), LanguageSet.read(str(toy), "de,en")
    with pytest.raises(InputError, match="two sets are called toy:test"):
        evaluate_languages(plan, [named, named], cache=cache)
    with pytest.raises(InputError, match="languages are not mixed in one index"):
        evaluate_languages(plan, [named.with_own_ids(True)], mixed=True, cache=cache)
    blank = {code: replace(one, read_documents=lambda: iter(())) for code, one in named.collections.items()}
    with pytest.raises(InputError, match="no document of de holds a text"):
        evaluate_languages(plan, [replace(named, collections=blank)], cache=cache)


def test_words_of_the_index_may_have_other_rules_than_bm25(
    found: LanguageEvaluation, toy: Path, encoder: Encoder, cache: VectorsCache
) -> None:
    plan = Plan.of(encoder, against=["bm25"])
    plain = LanguageSet.read(str(toy), "all", index_language="none")
    (matrix,) = evaluate_languages(plan, [plain], cache=cache).matrices
    (result,) = evaluate_collections([read_collection(toy / "de")], encoder, language="none", cache=cache).collections
    assert matrix.words == dict.fromkeys(CODES, "none")
    assert matrix.cells["de", "de"]["concepts+words"] == pytest.approx(result.system("concepts+words").measures)
    assert matrix.values("bm25", "nDCG@10") == found.matrices[0].values("bm25", "nDCG@10")
    assert matrix.values("concepts+words", "nDCG@10") != found.matrices[0].values("concepts+words", "nDCG@10")


def test_one_language_of_documents_has_nothing_to_share(toy: Path, encoder: Encoder, cache: VectorsCache) -> None:
    (matrix,) = evaluate_languages(Plan.of(encoder), [LanguageSet.read(str(toy), "de/en")], cache=cache).matrices
    assert matrix.latents == {} and list(matrix.cells) == [("de", "en")]
    assert [one.name for one in matrix.groups] == ["into English"]
