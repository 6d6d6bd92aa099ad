from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.encoder.tiny_encoders import tiny_encoder
from tests.encoder.tiny_models import TEXTS

from saelex.corpus.collection import Collection
from saelex.corpus.opening import read_collection
from saelex.evaluation.encoded import EncodedCollection, JudgedDocuments
from saelex.evaluation.vectors_cache import VectorsCache
from studies.claims.measured import NDCG, _ndcg_per_query, _translated
from studies.claims.runs import ClaimsRecipe
from studies.samples import judged_sample


def write_beir(folder: Path, documents: dict[str, str], queries: dict[str, str], qrels: list[tuple[str, str, int]]):
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", documents), ("queries", queries)):
        lines = [json.dumps({"_id": key, "text": text}) for key, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    rows = "".join(f"{query}\t{document}\t{grade}\n" for query, document, grade in qrels)
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}")
    return folder


# ---- judged_sample --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """40 documents, 10 queries with two judged documents each, one of grade 0."""
    documents = {f"d{i:02}": f"text {i}" for i in range(40)}
    queries = {f"q{i}": f"question {i}" for i in range(10)}
    judged = [(f"q{i}", f"d{(7 * i + 3 * j) % 40:02}", 1 - j) for i in range(10) for j in range(2)]
    return read_collection(write_beir(tmp_path_factory.mktemp("data") / "many", documents, queries, judged))


def test_a_sample_has_the_judged_documents_and_others_by_chance(collection: Collection) -> None:
    found = judged_sample(collection, queries=4, documents=20)
    asked = [one.id for one in found.collection.queries]
    assert len(asked) == len(set(asked)) == 4
    assert {name: collection.qrels[name] for name in asked} == dict(found.collection.qrels)
    wanted = {document for name in asked for document in collection.qrels[name]}
    kept = [one.id for one in found.documents]
    assert kept == sorted(set(kept))
    assert len(kept) == 20
    assert wanted < set(kept)
    others = [name for name in kept if name not in wanted]
    first_ones = sorted({one.id for one in collection.documents()} - wanted)[: len(others)]
    assert others != first_ones  # drawn, not the first ones
    again = judged_sample(collection, queries=4, documents=20)
    assert [one.id for one in again.documents] == kept
    assert [one.id for one in again.collection.queries] == asked


def test_a_sample_leaves_out_no_judged_document(collection: Collection) -> None:
    found = judged_sample(collection, queries=100, documents=3)
    assert [one.id for one in found.collection.queries] == [one.id for one in collection.queries]
    wanted = {document for grades in collection.qrels.values() for document in grades}
    assert [one.id for one in found.documents] == sorted(wanted)


def test_a_sample_of_more_than_there_is_is_all_there_is(collection: Collection) -> None:
    found = judged_sample(collection, queries=100, documents=1000)
    assert [one.id for one in found.documents] == sorted(one.id for one in collection.documents())


# ---- of an encoder --------------------------------------------------------------------------------------------------


def test_translations_share_what_sets_of_latents_share(tmp_path: Path) -> None:
    texts = {
        f"d{i}": text for i, text in enumerate([*TEXTS[1:6], " ".join(TEXTS[1:4])])
    }  # the last one is two passages
    turned = {name: " ".join(reversed(text.split())) for name, text in texts.items()}
    queries = {f"q{i}": text for i, text in enumerate(["wing lift", "zip archive", "money in a bank"])}
    qrels = [("q0", "d1", 1), ("q1", "d3", 1), ("q2", "d5", 1)]
    for language, documents in (("en", texts), ("xx", turned)):
        write_beir(tmp_path / "pair" / language, documents, queries, qrels)
    encoder = tiny_encoder(tmp_path / "bert", max_document_length=30)
    cache, recipe = VectorsCache(tmp_path / "cache"), ClaimsRecipe(queries=10)
    found = _translated(encoder, tmp_path / "pair", "xx", recipe, cache)

    judged = JudgedDocuments.read(read_collection(f"{tmp_path}/pair/en+{tmp_path}/pair/xx"))
    encoded = EncodedCollection.encode(encoder, judged, cache)
    assert len(encoded.passages) > len(texts)
    assert found.ndcg == pytest.approx(np.mean(list(_ndcg_per_query(encoded).values())))
    sides = []
    for language in ("en", "xx"):
        one = JudgedDocuments.read(read_collection(tmp_path / "pair" / language))
        firsts = [document.content[slice(*parts[0])] for document, parts in zip(one.documents, one.borders(encoder))]
        sides.append([set(latents.tolist()) for latents, _ in encoder.encode_document(firsts, top_k=400)])

    def mean(pairs: list[tuple[set[int], set[int]]]) -> float:
        return sum(len(a & b) / len(a | b) for a, b in pairs) / len(pairs)

    first, second = sides
    assert found.overlap == pytest.approx(mean(list(zip(first, second))))
    assert found.chance == pytest.approx(mean(list(zip(first, [second[-1], *second[:-1]]))))
    assert found.overlap > found.chance


def test_measures_of_queries_are_those_of_the_whole(tmp_path: Path) -> None:
    texts = {f"d{i}": text for i, text in enumerate(TEXTS)}
    queries = {"q1": "wing lift", "q0": "money", "q2": "air flow"}
    folder = write_beir(tmp_path / "one", texts, queries, [("q0", "d5", 1), ("q1", "d0", 2), ("q2", "d2", 1)])
    judged = JudgedDocuments.read(read_collection(folder))
    encoded = EncodedCollection.encode(tiny_encoder(tmp_path / "bert"), judged, VectorsCache(tmp_path / "cache"))
    found = _ndcg_per_query(encoded)
    assert set(found) == set(queries)
    assert np.mean(list(found.values())) == pytest.approx(encoded.measured((40, 400)).measures[NDCG])
