"""Searches over HTTP: what `Index.search` finds, with reasons that sum to the score."""

from __future__ import annotations

import math
from typing import Any

from tests.index.fakes import FakeEncoder
from tests.server.conftest import Serve, problem

from saelex.concepts.concept import Concept
from saelex.index.hits import Hit
from saelex.index.index import Index

KEYS = ["rank", "id", "score", "title", "text", "url", "metadata", "passage"]


def plain(hits: list[Hit]) -> list[dict[str, Any]]:
    """Hits as the API shows them, made here from the library's own."""
    return [
        {
            "rank": hit.rank, "id": hit.id, "score": hit.score, "title": hit.document.title, "text": hit.text,
            "url": hit.url, "metadata": dict(hit.document.metadata),
            "passage": {"start": hit.passage.start, "end": hit.passage.end},
        }
        for hit in hits
    ]  # fmt: skip


def test_hits_are_those_of_the_library(serve: Serve, labelled: Index) -> None:
    client = serve()
    cases: list[dict[str, Any]] = [
        {"k": 2},
        {"where": {"lang": ["en"], "year": {">=": 1960}}},
        {"boost": ["flying=3"], "ban": ["word:money"], "add": ["finance=0.5"], "words": False},
        {"where": {"any of": [{"year": 1990}, {"lang": {"not in": ["de", "en"]}}]}},
        {"where": None, "language": "de", "words": True, "mode": "exact"},
    ]
    for options in cases:
        answer = client.post("/v1/notes/search", json={"query": "wing money", **options}).json()
        found = labelled.search("wing money", **options)
        assert answer["hits"] == plain(found) and len(found) > 0
        assert answer["query"] == "wing money" and list(answer["took_ms"]) == ["queue", "encode", "search", "explain"]
    assert client.post("/v1/notes/search", json={"query": "nowhere"}).json()["hits"] == []


def test_an_explanation_sums_to_the_score_and_its_marks_lie_where_its_rows_fired(serve: Serve, labelled: Index) -> None:
    asked = {"query": "Wing and zip", "explain": True, "highlight": 3, "boost": ["flying=2"]}
    answer = serve().post("/v1/notes/search", json=asked).json()
    assert {hit["id"] for hit in answer["hits"]} >= {"wing", "a/zip ?#"}
    for hit, own in zip(answer["hits"], labelled.search("Wing and zip", boost=["flying=2"])):
        rows = hit["explanation"]
        assert math.fsum(row["contribution"] for row in rows) == hit["score"] == own.score
        assert [row["label"] for row in rows] == [row.label for row in own.explain().by_label]
        for text, marks, words in (
            (answer["query"], hit["query_marks"], "query_words"),
            (hit["text"], hit["text_marks"], "document_words"),
        ):
            fired = {(text[mark["start"] : mark["end"]].lower(), row) for mark in marks for row in mark["rows"]}
            assert fired == {(word.lower(), i) for i, row in enumerate(rows) for word in row[words]} and fired
        snippet = own.snippet(3)
        assert hit["snippet"]["text"] == snippet.text
        assert [(m["start"], m["end"], tuple(m["rows"])) for m in hit["snippet"]["marks"]] == list(snippet.marks)
    first = answer["hits"][[hit["id"] for hit in answer["hits"]].index("wing")]["explanation"]
    by_label = {row["label"]: row for row in first}
    assert by_label["word:wing"]["word"] and not by_label["flying"]["word"]
    assert by_label["flying"]["note"] == "boost x2" and by_label["word:wing"]["latents"][0] >= labelled.n_latents


def test_latents_of_one_label_are_one_row_heaviest_first(serve: Serve, labelled: Index) -> None:
    answer = serve().post("/v1/notes/search", json={"query": "bank", "explain": True, "words": False}).json()
    [row] = answer["hits"][0]["explanation"]
    contributions = labelled.search("bank", words=False)[0].explain().contributions
    assert row["latents"] == [one.latent for one in contributions] and len(row["latents"]) == 2
    assert row["label"] == "finance · shore"


def test_what_is_banned_is_named_by_its_label(serve: Serve, labelled: Index) -> None:
    client = serve()
    latent = labelled.concepts_in("wing")[0].latent
    answer = client.post("/v1/notes/search", json={"query": "wing lift", "ban": [f"#{latent}"]}).json()
    assert answer["banned"] == [labelled.concepts.label(latent)] if labelled.concepts else False
    assert list(answer["hits"][0]) == KEYS
    nothing = client.post("/v1/notes/search", json={"query": "nowhere", "ban": ["flying"]}).json()
    assert (nothing["hits"], nothing["banned"]) == ([], ["flying"])


def test_a_vector_in_place_of_a_query(serve: Serve, index: Index) -> None:
    client = serve()
    [vector] = client.post("/v1/notes/encode", json={"texts": ["wing money"]}).json()["vectors"]
    whole = index.query_vectors(["wing money"])
    with_words = {"indices": whole.latents.tolist(), "values": whole.weights.tolist()}
    expected = plain(index.search("wing money"))
    for asked in ({"vector": vector, "text": "wing money"}, {"vector": with_words}):
        answer = client.post("/v1/notes/search", json=asked).json()
        assert answer["hits"] == expected
    without = client.post("/v1/notes/search", json={"vector": vector}).json()
    assert without["hits"] == plain(index.search("wing money", words=False)) and without["query"] == ""
    too_wide = client.post("/v1/notes/search", json={"vector": {"indices": [2**31 - 2], "values": [1.0]}})
    assert "latents" in problem(too_wide, 400)


def test_many_queries_at_once(serve: Serve, index: Index) -> None:
    queries = ["wing", "money", "wing"]
    answer = serve().post("/v1/notes/search_batch", json={"queries": queries, "k": 2}).json()
    expected = [{"query": q, "hits": plain(hits)} for q, hits in zip(queries, index.search_batch(queries, 2))]
    assert answer == {"results": expected}
    explained = serve().post("/v1/notes/search_batch", json={"queries": ["wing"], "k": 1, "explain": True}).json()
    [hit] = explained["results"][0]["hits"]
    assert math.fsum(row["contribution"] for row in hit["explanation"]) == hit["score"]


def test_one_document_at_whatever_rank(serve: Serve, index: Index) -> None:
    client = serve()
    hit = client.post("/v1/notes/explain", json={"query": "bank of the wing", "id": "fluss"}).json()
    own = index.find("bank of the wing", "fluss")
    assert (hit["rank"], hit["score"]) == (own.rank, own.score) and own.rank > 1
    assert math.fsum(row["contribution"] for row in hit["explanation"]) == own.score
    assert "no document 'x'" in problem(client.post("/v1/notes/explain", json={"query": "bank", "id": "x"}), 404)
    nothing = client.post("/v1/notes/explain", json={"query": "bank", "id": "wing"})
    assert "scores 0" in problem(nothing, 400)


def test_a_steered_search_of_the_same_query_encodes_nothing(serve: Serve, index: Index) -> None:
    client, encoder = serve(), index.encoder
    assert isinstance(encoder, FakeEncoder)
    client.post("/v1/notes/search", json={"query": "wing lift"})
    before = encoder.encoded
    steered = client.post("/v1/notes/search", json={"query": "wing lift", "ban": ["word:lift"], "explain": True})
    client.get("/v1/notes/concepts", params={"text": "wing lift"})
    client.post("/v1/notes/explain", json={"query": "wing lift", "id": "wing"})
    assert encoder.encoded == before and steered.json()["took_ms"]["encode"] == 0


def test_a_commit_and_labels_of_another_process_are_seen(serve: Serve, index: Index) -> None:
    client = serve()
    assert client.get("/v1/notes").json()["documents"] == 4
    with Index.open(index.path, FakeEncoder()) as other:
        other.add([{"id": "new", "text": "A submarine.", "depth": 9}])
        other.write_concepts([Concept(other.concepts_in("submarine")[0].latent, "diving", (), (), 0.1, 1.0)])
    assert [hit["id"] for hit in client.post("/v1/notes/search", json={"query": "submarine"}).json()["hits"]] == ["new"]
    told = client.get("/v1/notes").json()
    assert (told["documents"], told["labels"]) == (5, True)
    assert {"name": "depth", "kinds": ["number"], "values": [9]} in told["fields"]
    boosted = client.post("/v1/notes/search", json={"query": "submarine", "boost": ["diving=2"]})
    assert boosted.status_code == 200
